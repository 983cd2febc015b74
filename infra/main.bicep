// Everything that the app needs, in one resource group; what exists already is used where its id is given.
// No parameter is a secret: identities and roles open all of it. The parameters are explained in docs/deploy.md.

import { appSettings } from 'settings.bicep'

targetScope = 'resourceGroup'

@minLength(1)
@maxLength(64)
@description('Name of the environment. The default names of all resources follow from it and from the resource group.')
param environmentName string

@minLength(1)
@description('Region of what is created.')
param location string = resourceGroup().location

@description('Tags of what is created.')
param tags object = {}

// The app

@minLength(2)
@maxLength(55)
@description('Name of the function app, unique in Azure: letters, digits and hyphens, no hyphen first or last.')
param functionAppName string = 'func-${uniqueString(resourceGroup().id, environmentName)}'

@allowed([512, 2048, 4096])
@description('Memory of an instance, in MB.')
param instanceMemoryMB int = 2048

@minValue(1)
@maxValue(1000)
@description('Most instances of each function. Of normalize no more run than the hub has partitions. Not every region takes fewer than 40.')
param maximumInstanceCount int = 40

@minValue(0)
@maxValue(1000)
@description('Instances of normalize that are kept ready. With 0, a message after a quiet time waits for a cold start.')
param alwaysReadyNormalize int = 0

@minValue(0)
@maxValue(1000)
@description('Instances of flush that are kept ready. Its timer runs with 0, too.')
param alwaysReadyFlush int = 0

@description('App settings by which the app differs from its defaults, by the names in docs/settings.md.')
param settings appSettings = {}

@description('Further app settings, of the Functions host or the platform, by name. A deployment removes settings that are in no parameter.')
param platformSettings object = {}

@allowed(['timer', 'queue'])
@description('Who flushes: timer, one instance; queue, as many instances as there are shards that are due, up to maximumInstanceCount. The app may then use storage queues.')
param flushFanout string = 'timer'

@description('App settings that are secrets: name, and address of the secret in the key vault (https://NAME.vault.azure.net/secrets/SECRET). The app sees the secret, a reader of the settings does not.')
param settingSecretUris object = {}

@description('Resource id of the key vault of these secrets; empty: none is referred to.')
param keyVaultId string = ''

// Storage

@minLength(3)
@maxLength(24)
@description('Name of the storage account, unique in Azure: small letters and digits.')
param storageAccountName string = 'st${uniqueString(resourceGroup().id, environmentName)}'

@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS'])
@description('Redundancy of the storage account. Standard_ZRS outlives the loss of a zone; not every region has it.')
param storageSku string = 'Standard_ZRS'

@description('Names of further storage accounts, over which the buffer is spread; one with - before it is only emptied. The accounts are created.')
param furtherStorageAccounts string[] = []

// Device messages

@description('Resource id of the Event Hubs namespace that devices send to; empty: a new one is created.')
param eventHubNamespaceId string = ''

@minLength(6)
@maxLength(50)
@description('Name of a new Event Hubs namespace, unique in Azure: letters, digits and hyphens, a letter first, no hyphen last.')
param eventHubNamespaceName string = 'evhns-${uniqueString(resourceGroup().id, environmentName)}'

@allowed(['Standard', 'Premium'])
@description('Tier of a new namespace. Basic has no consumer groups.')
param eventHubSku string = 'Standard'

@minValue(1)
@maxValue(40)
@description('Throughput units (Standard) or processing units (Premium) of a new namespace.')
param eventHubCapacity int = 1

@minValue(0)
@maxValue(40)
@description('Throughput units up to which a new Standard namespace grows by itself; 0: it does not.')
param eventHubMaximumThroughputUnits int = 0

@minLength(1)
@maxLength(256)
@description('Name of the hub, which is created in a new namespace and exists in yours: letters, digits, periods, hyphens and underscores.')
param eventHubName string = 'devicedata'

@minValue(1)
@maxValue(32)
@description('Partitions of a new hub. A Standard hub keeps the number for good.')
param eventHubPartitions int = 4

@minValue(1)
@maxValue(90)
@description('Days that a new hub keeps messages: 7 at most in the Standard tier, 90 in Premium. For so long the app may stand still without loss.')
param eventHubRetentionDays int = 7

@minLength(1)
@maxLength(50)
@description('Consumer group that is created for the app and that nothing else may read.')
param eventHubConsumerGroup string = 'medtech'

@description('Address of the Key Vault secret with a hub connection string, for the built-in endpoint of an IoT hub, which knows no Entra ID; empty: the hub is opened by identity.')
param eventHubConnectionSecretUri string = ''

@description('Whether to create an IoT hub whose device messages are routed to the hub.')
param iotHub bool = false

@minLength(3)
@maxLength(50)
@description('Name of a new IoT hub, unique in Azure: letters, digits and hyphens, no hyphen first or last.')
param iotHubName string = 'iot-${uniqueString(resourceGroup().id, environmentName)}'

@allowed(['S1', 'S2', 'S3'])
@description('Tier of a new IoT hub.')
param iotHubSku string = 'S1'

@minValue(1)
@maxValue(200)
@description('Units of a new IoT hub.')
param iotHubUnits int = 1

// FHIR server

@description('Resource id of the FHIR service of Azure Health Data Services to write to; empty: a new one is created, unless fhirServiceUrl is given.')
param fhirServiceId string = ''

@description('Base URL of the FHIR R4 server: of one that is no service of Azure, or where that of fhirServiceId is not the usual one; empty: the usual one.')
param fhirServiceUrl string = ''

@minLength(3)
@maxLength(24)
@description('Name of a new Health Data Services workspace, unique in Azure: letters and digits.')
param healthWorkspaceName string = 'health${uniqueString(resourceGroup().id, environmentName)}'

@minLength(3)
@maxLength(24)
@description('Name of a new FHIR service in its workspace: letters, digits and hyphens.')
param fhirServiceName string = 'fhir'

@description('Region of a new FHIR service, where Health Data Services are not in the region of the rest.')
param fhirLocation string = location

// Logs

@minLength(4)
@maxLength(63)
@description('Name of the Log Analytics workspace: letters, digits and hyphens, no hyphen first or last.')
param logAnalyticsName string = 'log-${uniqueString(resourceGroup().id, environmentName)}'

@minLength(1)
@maxLength(260)
@description('Name of the Application Insights component.')
param applicationInsightsName string = 'appi-${uniqueString(resourceGroup().id, environmentName)}'

@minValue(30)
@maxValue(730)
@description('Days that logs are kept.')
param logRetentionDays int = 30

// Alerts

@description('Whether to create alert rules.')
param alerts bool = true

@description('Mail addresses that alerts go to. Without them and without action groups, alerts are only shown in the portal.')
param alertEmails string[] = []

@description('Resource ids of action groups of yours that alerts go to.')
param alertActionGroupIds string[] = []

@minValue(0)
@maxValue(129600)
@description('Minutes that an event may wait in the hub before hub-lag fires; 0: half of the retention of the hub, or 12 hours for the built-in endpoint of an IoT hub.')
param alertHubLagMinutes int = 0

@minValue(1)
@maxValue(10080)
@description('Minutes by which a window may be overdue before oldest-window-overdue fires.')
param alertOverdueMinutes int = 10

@allowed([10, 15, 30, 45])
@description('Minutes without a flush before no-flush fires; at least twice the interval of FLUSH_SCHEDULE.')
param alertNoFlushMinutes int = 10

@allowed([1, 2, 3, 4, 5, 6, 24, 48])
@description('Hours without any event before no-events fires.')
param alertNoEventsHours int = 24

@minValue(0)
@maxValue(1000000)
@description('Dead letters of one error in an hour above which new-dead-letters fires.')
param alertDeadLetters int = 0

@minValue(0)
@maxValue(100)
@description('Errors per hundred events above which error-rate fires.')
param alertErrorPercent int = 5

@minValue(0)
@maxValue(1000000)
@description('Answers 429 and 503 in 15 minutes, of the FHIR server or of storage, above which throttling fires.')
param alertThrottledAnswers int = 100

// Network

@description('Whether storage, hub and FHIR service are reached through private endpoints only. What you bring keeps its own firewall.')
param privateNetwork bool = false

@description('Address range of a new virtual network, /22 or larger.')
param virtualNetworkPrefix string = '10.90.0.0/22'

@description('Resource id of an existing subnet for the app, delegated to Microsoft.App/environments and used by nothing else; empty: a new virtual network is created.')
param appSubnetId string = ''

@description('Resource id of an existing subnet for private endpoints, in the virtual network of appSubnetId.')
param privateEndpointSubnetId string = ''

@description('Whether to create private DNS zones and link them to the virtual network; false where they are run centrally.')
param privateDnsZones bool = true

// What is created and what is used

var newHub = empty(eventHubNamespaceId) && empty(eventHubConnectionSecretUri)
var existingHub = !empty(eventHubNamespaceId) && empty(eventHubConnectionSecretUri)
var newFhirService = empty(fhirServiceId) && empty(fhirServiceUrl)
var furtherStorageNames = map(furtherStorageAccounts, entry => replace(entry, '-', ''))
var newNetwork = privateNetwork && empty(appSubnetId)

var allTags = union(tags, { 'azd-env-name': environmentName })

var hubId = split(existingHub ? eventHubNamespaceId : resourceId('Microsoft.EventHub/namespaces', eventHubNamespaceName), '/')
var fhirId = split(
  empty(fhirServiceId)
    ? resourceId('Microsoft.HealthcareApis/workspaces/fhirservices', healthWorkspaceName, fhirServiceName)
    : fhirServiceId,
  '/'
)
var vaultId = split(
  empty(keyVaultId) ? resourceId('Microsoft.KeyVault/vaults', 'none') : keyVaultId,
  '/'
)

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: 'id-${functionAppName}'
  location: location
  tags: allTags
}

resource iotHubIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = if (iotHub) {
  name: 'id-${iotHubName}'
  location: location
  tags: allTags
}

module monitoring 'monitoring.bicep' = {
  name: 'monitoring'
  params: {
    applicationInsightsName: applicationInsightsName
    location: location
    logAnalyticsName: logAnalyticsName
    retentionDays: logRetentionDays
    tags: allTags
  }
}

module storage 'storage.bicep' = {
  name: 'storage'
  params: {
    location: location
    name: storageAccountName
    publicAccess: !privateNetwork
    sku: storageSku
    tags: allTags
  }
}

module bufferStorage 'buffer-storage.bicep' = if (!empty(furtherStorageAccounts)) {
  name: 'buffer-storage'
  params: {
    location: location
    names: furtherStorageNames
    publicAccess: !privateNetwork
    sku: storageSku
    tags: allTags
  }
}

module hub 'event-hub.bicep' = if (newHub) {
  name: 'event-hub'
  params: {
    capacity: eventHubCapacity
    eventHubName: eventHubName
    location: location
    maximumThroughputUnits: eventHubMaximumThroughputUnits
    name: eventHubNamespaceName
    partitions: eventHubPartitions
    publicAccess: !privateNetwork
    retentionDays: eventHubRetentionDays
    sku: eventHubSku
    tags: allTags
  }
}

module consumer 'consumer.bicep' = if (newHub || existingHub) {
  name: 'group-${functionAppName}'
  scope: resourceGroup(hubId[2], hubId[4])
  params: {
    consumerGroupName: eventHubConsumerGroup
    eventHubName: eventHubName
    namespaceName: hubId[8]
  }
  dependsOn: [
    hub
  ]
}

module fhir 'fhir.bicep' = if (newFhirService) {
  name: 'fhir'
  params: {
    location: fhirLocation
    name: fhirServiceName
    publicAccess: !privateNetwork
    tags: allTags
    workspaceName: healthWorkspaceName
  }
}

// Roles. A module has one resource group, and what exists may lie in others.

module ownRoles 'roles.bicep' = {
  name: 'roles'
  params: {
    applicationInsightsName: monitoring.outputs.applicationInsightsName
    appPrincipalId: identity.properties.principalId
    furtherStorageAccountNames: furtherStorageNames
    queues: flushFanout == 'queue'
    storageAccountName: storage.outputs.name
  }
  dependsOn: [
    bufferStorage
  ]
}

module hubRoles 'roles.bicep' = if (newHub || existingHub) {
  name: 'hub-${functionAppName}'
  scope: resourceGroup(hubId[2], hubId[4])
  params: {
    appPrincipalId: identity.properties.principalId
    eventHubName: eventHubName
    eventHubNamespaceName: hubId[8]
    senderPrincipalId: iotHub ? iotHubIdentity!.properties.principalId : ''
  }
  dependsOn: [
    hub
  ]
}

module fhirRoles 'roles.bicep' = if (newFhirService || !empty(fhirServiceId)) {
  name: 'fhir-${functionAppName}'
  scope: resourceGroup(fhirId[2], fhirId[4])
  params: {
    appPrincipalId: identity.properties.principalId
    fhirServiceName: fhirId[10]
    healthWorkspaceName: fhirId[8]
  }
  dependsOn: [
    fhir
  ]
}

module keyVaultRoles 'roles.bicep' = if (!empty(keyVaultId)) {
  name: 'vault-${functionAppName}'
  scope: resourceGroup(vaultId[2], vaultId[4])
  params: {
    appPrincipalId: identity.properties.principalId
    keyVaultName: vaultId[8]
    keyVaultSecretUris: concat(
      map(items(settingSecretUris), setting => setting.value),
      empty(eventHubConnectionSecretUri) ? [] : [eventHubConnectionSecretUri]
    )
  }
}

module iotHubWithRoute 'iot-hub.bicep' = if (iotHub && (newHub || existingHub)) {
  name: 'iot-hub'
  params: {
    eventHubName: eventHubName
    eventHubNamespaceHost: consumer!.outputs.namespaceHost
    identityId: iotHubIdentity.id
    location: location
    name: iotHubName
    sku: iotHubSku
    tags: allTags
    units: iotHubUnits
  }
  // The hub tries the route when it is created.
  dependsOn: [
    hubRoles
  ]
}

// Network

module network 'network.bicep' = if (newNetwork) {
  name: 'network'
  params: {
    addressPrefix: virtualNetworkPrefix
    location: location
    name: 'vnet-${functionAppName}'
    tags: allTags
  }
}

module privateEndpoints 'private-endpoints.bicep' = if (privateNetwork) {
  name: 'private-endpoints'
  params: {
    createDnsZones: privateDnsZones
    location: location
    namePrefix: 'pe-${functionAppName}'
    services: concat(
      map(['blob', 'table', 'queue'], part => {
        group: part
        id: resourceId('Microsoft.Storage/storageAccounts', storageAccountName)
        name: part
        zones: ['privatelink.${part}.${environment().suffixes.storage}']
      }),
      map(furtherStorageNames, name => {
        group: 'table'
        id: resourceId('Microsoft.Storage/storageAccounts', name)
        name: 'table-${name}'
        zones: ['privatelink.table.${environment().suffixes.storage}']
      }),
      newHub || existingHub
        ? [
            {
              group: 'namespace'
              id: consumer!.outputs.namespaceId
              name: 'hub'
              zones: ['privatelink.servicebus.windows.net']
            }
          ]
        : [],
      newFhirService || !empty(fhirServiceId)
        ? [
            {
              group: 'healthcareworkspace'
              id: join(take(fhirId, 9), '/')
              name: 'fhir'
              zones: [
                'privatelink.workspace.azurehealthcareapis.com'
                'privatelink.fhir.azurehealthcareapis.com'
              ]
            }
          ]
        : [],
      empty(keyVaultId)
        ? []
        : [
            {
              group: 'vault'
              id: keyVaultId
              name: 'vault'
              zones: ['privatelink.vaultcore.azure.net']
            }
          ]
    )
    subnetId: newNetwork ? network!.outputs.privateEndpointSubnetId : privateEndpointSubnetId
    tags: allTags
  }
  // The names of a workspace's services go into the zones when its endpoint is created.
  dependsOn: [
    bufferStorage
    fhir
    storage
  ]
}

module app 'app.bicep' = {
  name: 'app'
  params: {
    alwaysReadyFlush: alwaysReadyFlush
    alwaysReadyNormalize: alwaysReadyNormalize
    applicationInsightsName: monitoring.outputs.applicationInsightsName
    eventHubConnectionSecretUri: eventHubConnectionSecretUri
    eventHubConsumerGroup: eventHubConsumerGroup
    eventHubName: eventHubName
    eventHubNamespaceHost: newHub || existingHub ? consumer!.outputs.namespaceHost : ''
    fhirServiceUrl: empty(fhirServiceUrl)
      ? 'https://${fhirId[8]}-${fhirId[10]}.fhir.azurehealthcareapis.com'
      : fhirServiceUrl
    flushFanout: flushFanout
    furtherStorage: join(
      map(
        furtherStorageAccounts,
        entry => '${startsWith(entry, '-') ? '-' : ''}https://${replace(entry, '-', '')}.table.${environment().suffixes.storage}'
      ),
      ','
    )
    identityName: identity.name
    instanceMemoryMB: instanceMemoryMB
    location: location
    maximumInstanceCount: maximumInstanceCount
    name: functionAppName
    platformSettings: platformSettings
    settings: settings
    settingSecretUris: settingSecretUris
    storageAccountName: storage.outputs.name
    subnetId: privateNetwork ? (newNetwork ? network!.outputs.appSubnetId : appSubnetId) : ''
    tags: allTags
  }
  // The host starts at once, and would find its storage, hub and vault closed.
  dependsOn: [
    ownRoles
    hubRoles
    fhirRoles
    keyVaultRoles
    privateEndpoints
  ]
}

// What the app tells of itself

module workbook 'workbook.bicep' = {
  name: 'workbook'
  params: {
    applicationInsightsId: monitoring.outputs.applicationInsightsId
    eventHubName: eventHubName
    eventHubNamespaceId: newHub || existingHub ? consumer!.outputs.namespaceId : ''
    functionAppName: functionAppName
    location: location
    tags: allTags
  }
}

module alertRules 'alerts.bicep' = if (alerts) {
  name: 'alerts'
  params: {
    actionGroupIds: alertActionGroupIds
    applicationInsightsId: monitoring.outputs.applicationInsightsId
    deadLetters: alertDeadLetters
    emails: alertEmails
    errorPercent: alertErrorPercent
    eventHubName: eventHubName
    // A rule on metrics and what it watches have one subscription.
    eventHubNamespaceId: (newHub || existingHub) && toLower(hubId[2]) == toLower(subscription().subscriptionId)
      ? consumer!.outputs.namespaceId
      : ''
    functionAppName: functionAppName
    hubLagMinutes: alertHubLagMinutes > 0
      ? alertHubLagMinutes
      : (newHub || existingHub ? 30 * consumer!.outputs.retentionHours : 12 * 60)
    location: location
    noEventsHours: alertNoEventsHours
    noFlushMinutes: alertNoFlushMinutes
    overdueMinutes: alertOverdueMinutes
    tags: allTags
    throttledAnswers: alertThrottledAnswers
  }
  // No rule is to wait for telemetry of an app that is not there yet.
  dependsOn: [
    app
  ]
}

output FUNCTION_APP_NAME string = functionAppName
output FUNCTION_APP_URL string = app.outputs.url
output APP_IDENTITY_CLIENT_ID string = identity.properties.clientId
output STORAGE_ACCOUNT_NAME string = storage.outputs.name
output EVENT_HUB_NAMESPACE_HOST string = newHub || existingHub ? consumer!.outputs.namespaceHost : ''
output EVENT_HUB_NAME string = eventHubName
output FHIR_SERVICE_URL string = app.outputs.fhirServiceUrl
