// A private endpoint for each service that the app opens, and the DNS zones in which their names become its addresses.

@description('A part of a service that has an endpoint of its own, and the zones of its names.')
type endpointService = {
  group: string
  id: string
  name: string
  zones: string[]
}

param createDnsZones bool
param location string
param namePrefix string
param services endpointService[]
param subnetId string
param tags object

var zones = createDnsZones ? flatten(map(services, service => service.zones)) : []

resource dnsZones 'Microsoft.Network/privateDnsZones@2024-06-01' = [for zone in zones: {
  name: zone
  location: 'global'
  tags: tags
}]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [for (zone, position) in zones: {
  parent: dnsZones[position]
  name: namePrefix
  location: 'global'
  tags: tags
  properties: {
    registrationEnabled: false
    virtualNetwork: {
      id: split(subnetId, '/subnets/')[0]
    }
  }
}]

// One after the other: a storage account and a subnet refuse a second change while one is under way.
@batchSize(1)
resource endpoints 'Microsoft.Network/privateEndpoints@2024-05-01' = [for service in services: {
  name: '${namePrefix}-${service.name}'
  location: location
  tags: tags
  properties: {
    privateLinkServiceConnections: [
      {
        name: service.name
        properties: {
          groupIds: [
            service.group
          ]
          privateLinkServiceId: service.id
        }
      }
    ]
    subnet: {
      id: subnetId
    }
  }
}]

resource zoneGroups 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-05-01' = [for (service, position) in services: if (createDnsZones) {
  parent: endpoints[position]
  name: 'default'
  properties: {
    privateDnsZoneConfigs: map(service.zones, zone => {
      name: replace(zone, '.', '-')
      properties: {
        privateDnsZoneId: resourceId('Microsoft.Network/privateDnsZones', zone)
      }
    })
  }
  dependsOn: [
    dnsZones
  ]
}]
