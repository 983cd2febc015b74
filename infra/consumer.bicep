// The app's consumer group in a hub, and the address by which the app opens the hub.

param consumerGroupName string
param eventHubName string
param namespaceName string

resource namespace 'Microsoft.EventHub/namespaces@2024-01-01' existing = {
  name: namespaceName
}

resource hub 'Microsoft.EventHub/namespaces/eventhubs@2024-01-01' existing = {
  parent: namespace
  name: eventHubName
}

resource consumerGroup 'Microsoft.EventHub/namespaces/eventhubs/consumergroups@2024-01-01' = {
  parent: hub
  name: consumerGroupName
  properties: {
    userMetadata: 'Device data to FHIR. Nothing else may read this group.'
  }
}

output namespaceId string = namespace.id
// https://NAME.servicebus.windows.net:443/
output namespaceHost string = split(split(namespace.properties.serviceBusEndpoint, '://')[1], ':')[0]
output retentionHours int = hub.properties.?retentionDescription.?retentionTimeInHours ?? 24
