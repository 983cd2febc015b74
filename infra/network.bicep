// A virtual network of two subnets: the app's instances, and the private endpoints of what they open.

param addressPrefix string
param location string
param name string
param tags object

resource network 'Microsoft.Network/virtualNetworks@2024-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: [
        addressPrefix
      ]
    }
    // Flex Consumption takes no subnet with an underscore in its name.
    subnets: [
      {
        name: 'app'
        properties: {
          addressPrefix: cidrSubnet(addressPrefix, 24, 0)
          delegations: [
            {
              name: 'app'
              properties: {
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
        }
      }
      {
        name: 'private-endpoints'
        properties: {
          addressPrefix: cidrSubnet(addressPrefix, 24, 1)
        }
      }
    ]
  }
}

output appSubnetId string = '${network.id}/subnets/app'
output privateEndpointSubnetId string = '${network.id}/subnets/private-endpoints'
