// A namespace and the hub that devices send to. Senders and readers come with a role, none with a key.

param capacity int
param eventHubName string
param location string
param maximumThroughputUnits int
param name string
param partitions int
param publicAccess bool
param retentionDays int
param sku string
param tags object

var grows = sku == 'Standard' && maximumThroughputUnits > 0

resource namespace 'Microsoft.EventHub/namespaces@2024-01-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: sku
    tier: sku
    capacity: capacity
  }
  properties: {
    disableLocalAuth: true
    isAutoInflateEnabled: grows
    maximumThroughputUnits: grows ? maximumThroughputUnits : 0
    minimumTlsVersion: '1.2'
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
  }
}

// An IoT hub routes to a hub without public access as a trusted service.
resource networkRules 'Microsoft.EventHub/namespaces/networkRuleSets@2024-01-01' = {
  parent: namespace
  name: 'default'
  properties: {
    defaultAction: publicAccess ? 'Allow' : 'Deny'
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    trustedServiceAccessEnabled: true
  }
}

resource hub 'Microsoft.EventHub/namespaces/eventhubs@2024-01-01' = {
  parent: namespace
  name: eventHubName
  properties: {
    partitionCount: partitions
    retentionDescription: {
      cleanupPolicy: 'Delete'
      retentionTimeInHours: 24 * retentionDays
    }
  }
  // A namespace refuses a second change while one is under way.
  dependsOn: [
    networkRules
  ]
}
