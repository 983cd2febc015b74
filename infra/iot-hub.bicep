// An IoT hub that routes what devices send to the hub, by an identity that holds the sender's role there.

param eventHubName string
param eventHubNamespaceHost string
param identityId string
param location string
param name string
param sku string
param tags object
param units int

resource iotHub 'Microsoft.Devices/IotHubs@2023-06-30' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: sku
    capacity: units
  }
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    // Of the hub's own keys; devices keep theirs.
    disableLocalAuth: true
    routing: {
      endpoints: {
        eventHubs: [
          {
            name: 'device-data'
            authenticationType: 'identityBased'
            endpointUri: 'sb://${eventHubNamespaceHost}'
            entityPath: eventHubName
            identity: {
              userAssignedIdentity: identityId
            }
          }
        ]
      }
      routes: [
        {
          name: 'device-data'
          source: 'DeviceMessages'
          condition: 'true'
          endpointNames: [
            'device-data'
          ]
          isEnabled: true
        }
      ]
    }
  }
}
