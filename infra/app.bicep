// The function app on a Flex Consumption plan, and its app settings.

import { appSettings } from 'settings.bicep'

param alwaysReadyFlush int
param alwaysReadyNormalize int
param applicationInsightsName string
param eventHubConnectionSecretUri string
param eventHubConsumerGroup string
param eventHubName string
param eventHubNamespaceHost string
param fhirServiceUrl string
param flushFanout string
param furtherStorage string
param identityName string
param instanceMemoryMB int
param location string
param maximumInstanceCount int
param name string
param platformSettings object
param settings appSettings
param settingSecretUris object
param storageAccountName string
param subnetId string
param tags object

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' existing = {
  name: identityName
}

resource storageAccount 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: storageAccountName
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: applicationInsightsName
}

var hubConnection = empty(eventHubConnectionSecretUri)
  ? {
      EventHubConnection__fullyQualifiedNamespace: eventHubNamespaceHost
      EventHubConnection__credential: 'managedidentity'
      EventHubConnection__clientId: identity.properties.clientId
    }
  : {
      EventHubConnection: '@Microsoft.KeyVault(SecretUri=${eventHubConnectionSecretUri})'
    }

var secretSettings = mapValues(settingSecretUris, uri => '@Microsoft.KeyVault(SecretUri=${uri})')

var ownSettings = {
  AzureWebJobsStorage__blobServiceUri: storageAccount.properties.primaryEndpoints.blob
  AzureWebJobsStorage__queueServiceUri: storageAccount.properties.primaryEndpoints.queue
  AzureWebJobsStorage__tableServiceUri: storageAccount.properties.primaryEndpoints.table
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identity.properties.clientId
  AZURE_CLIENT_ID: identity.properties.clientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: applicationInsights.properties.ConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identity.properties.clientId};Authorization=AAD'
  OTEL_TRACES_SAMPLER: 'always_on'
  PYTHON_ENABLE_OPENTELEMETRY: 'true'
  EVENT_HUB_NAME: eventHubName
  EVENT_HUB_CONSUMER_GROUP: eventHubConsumerGroup
  FHIR_SERVICE_URL: fhirServiceUrl
  FLUSH_FANOUT: flushFanout
}

// The tables of further accounts. Left out without any: a setting that is there and says nothing only puzzles.
var furtherSettings = empty(furtherStorage) ? {} : { BufferStorage__furtherAccounts: furtherStorage }

var alwaysReady = filter(
  [
    {
      name: 'function:normalize'
      instanceCount: alwaysReadyNormalize
    }
    {
      name: 'function:flush'
      instanceCount: alwaysReadyFlush
    }
  ],
  group => group.instanceCount > 0
)

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  name: 'plan-${name}'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2024-04-01' = {
  name: name
  location: location
  // By this tag `azd deploy` finds the app.
  tags: union(tags, { 'azd-service-name': 'app' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storageAccount.properties.primaryEndpoints.blob}app-package'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identity.id
          }
        }
      }
      runtime: {
        name: 'python'
        version: '3.13'
      }
      scaleAndConcurrency: {
        alwaysReady: alwaysReady
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
      }
    }
    httpsOnly: true
    keyVaultReferenceIdentity: identity.id
    serverFarmId: plan.id
    siteConfig: {
      // Settings that are in none of these are removed by a deployment.
      appSettings: map(items(union(platformSettings, settings, secretSettings, ownSettings, hubConnection, furtherSettings)), setting => {
        name: setting.key
        value: string(setting.value)
      })
      http20Enabled: true
      minTlsVersion: '1.2'
    }
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
  }
}

// Deployment by user name and password.
resource ftpCredentials 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: app
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource scmCredentials 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: app
  name: 'scm'
  properties: {
    allow: false
  }
}

output fhirServiceUrl string = fhirServiceUrl
output url string = 'https://${app.properties.defaultHostName}'
