// Who may do what. Every role is here, each on the one resource that it is needed for; only those whose resource is
// named are assigned.

param appPrincipalId string
param applicationInsightsName string = ''
param eventHubName string = ''
param eventHubNamespaceName string = ''
param fhirServiceName string = ''
param furtherStorageAccountNames string[] = []
param healthWorkspaceName string = ''
param keyVaultName string = ''
param keyVaultSecretUris string[] = []
param queues bool = false
param senderPrincipalId string = ''
param storageAccountName string = ''

var roles = {
  // The host keeps its checkpoints, leases and keys in blobs, and needs Owner.
  storageBlobDataOwner: 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
  storageTableDataContributor: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
  storageQueueDataContributor: '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
  eventHubsDataReceiver: 'a638d3c7-ab3a-418d-83e6-5f17a39d4fde'
  eventHubsDataSender: '2b629674-e913-4c01-ae53-ef4638d8f975'
  // Not FHIR Data Contributor: the app neither deletes for good nor exports.
  fhirDataWriter: '3f88fce4-5892-4214-ae73-ba5294559913'
  monitoringMetricsPublisher: '3913510d-42f4-4e42-8a64-420c390055eb'
  keyVaultSecretsUser: '4633458b-17de-408a-b874-0445c86b69e6'
}

// A name must be one even where nothing is assigned on it.
resource storageAccount 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: empty(storageAccountName) ? 'none' : storageAccountName
}

resource furtherStorageAccounts 'Microsoft.Storage/storageAccounts@2024-01-01' existing = [for name in furtherStorageAccountNames: {
  name: name
}]

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: empty(applicationInsightsName) ? 'none' : applicationInsightsName
}

resource eventHubNamespace 'Microsoft.EventHub/namespaces@2024-01-01' existing = {
  name: empty(eventHubNamespaceName) ? 'not-used' : eventHubNamespaceName
}

resource eventHub 'Microsoft.EventHub/namespaces/eventhubs@2024-01-01' existing = {
  parent: eventHubNamespace
  name: empty(eventHubName) ? 'none' : eventHubName
}

resource healthWorkspace 'Microsoft.HealthcareApis/workspaces@2024-03-31' existing = {
  name: empty(healthWorkspaceName) ? 'none' : healthWorkspaceName
}

resource fhirService 'Microsoft.HealthcareApis/workspaces/fhirservices@2024-03-31' existing = {
  parent: healthWorkspace
  name: empty(fhirServiceName) ? 'none' : fhirServiceName
}

resource keyVault 'Microsoft.KeyVault/vaults@2023-07-01' existing = {
  name: empty(keyVaultName) ? 'none' : keyVaultName
}

// https://NAME.vault.azure.net/secrets/SECRET, with or without a version; several settings may read one secret.
var secretNames = union([], map(keyVaultSecretUris, uri => split(uri, '/')[4]))

resource keyVaultSecrets 'Microsoft.KeyVault/vaults/secrets@2023-07-01' existing = [for name in secretNames: {
  parent: keyVault
  name: name
}]

resource blobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(storageAccountName)) {
  name: guid(storageAccount.id, appPrincipalId, roles.storageBlobDataOwner)
  scope: storageAccount
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataOwner)
  }
}

resource tables 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(storageAccountName)) {
  name: guid(storageAccount.id, appPrincipalId, roles.storageTableDataContributor)
  scope: storageAccount
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageTableDataContributor)
  }
}

resource furtherTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (name, position) in furtherStorageAccountNames: {
  name: guid(furtherStorageAccounts[position].id, appPrincipalId, roles.storageTableDataContributor)
  scope: furtherStorageAccounts[position]
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageTableDataContributor)
  }
}]

resource queue 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(storageAccountName) && queues) {
  name: guid(storageAccount.id, appPrincipalId, roles.storageQueueDataContributor)
  scope: storageAccount
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageQueueDataContributor)
  }
}

resource telemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(applicationInsightsName)) {
  name: guid(applicationInsights.id, appPrincipalId, roles.monitoringMetricsPublisher)
  scope: applicationInsights
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.monitoringMetricsPublisher)
  }
}

resource receiver 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(eventHubName)) {
  name: guid(eventHub.id, appPrincipalId, roles.eventHubsDataReceiver)
  scope: eventHub
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.eventHubsDataReceiver)
  }
}

resource sender 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(eventHubName) && !empty(senderPrincipalId)) {
  name: guid(eventHub.id, senderPrincipalId, roles.eventHubsDataSender)
  scope: eventHub
  properties: {
    principalId: senderPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.eventHubsDataSender)
  }
}

resource fhirWriter 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(fhirServiceName)) {
  name: guid(fhirService.id, appPrincipalId, roles.fhirDataWriter)
  scope: fhirService
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.fhirDataWriter)
  }
}

resource secrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (name, position) in secretNames: if (!empty(keyVaultName)) {
  name: guid(keyVaultSecrets[position].id, appPrincipalId, roles.keyVaultSecretsUser)
  scope: keyVaultSecrets[position]
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.keyVaultSecretsUser)
  }
}]
