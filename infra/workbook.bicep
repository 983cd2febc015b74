// The workbook of Application Insights: how much goes through, how long it takes, and what fails.
//
// Deployed by main.bicep, or by itself for a function app that exists (docs/deploy.md).

@description('Resource id of the Application Insights component that the app sends to.')
param applicationInsightsId string

@description('Name of the hub that the app reads.')
param eventHubName string = ''

@description('Resource id of its namespace; empty: its metrics are not shown.')
param eventHubNamespaceId string = ''

@description('Name of the function app, by which the workbook is named.')
param functionAppName string

@description('Region of the workbook.')
param location string = resourceGroup().location

@description('Tags of the workbook.')
param tags object = {}

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  // The portal takes no other name than a GUID.
  name: guid(applicationInsightsId, functionAppName)
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    category: 'workbook'
    displayName: '${functionAppName}: device data to FHIR'
    serializedData: replace(
      replace(loadTextContent('workbook.json'), '<namespace id>', eventHubNamespaceId),
      '<hub name>',
      eventHubName
    )
    // Its queries run on the component that it belongs to.
    sourceId: toLower(applicationInsightsId)
    version: 'Notebook/1.0'
  }
}
