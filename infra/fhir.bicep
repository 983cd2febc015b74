// A workspace of Azure Health Data Services with a FHIR R4 service.

param location string
param name string
param publicAccess bool
param tags object
param workspaceName string

resource workspace 'Microsoft.HealthcareApis/workspaces@2024-03-31' = {
  name: workspaceName
  location: location
  tags: tags
  properties: {
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
  }
}

resource service 'Microsoft.HealthcareApis/workspaces/fhirservices@2024-03-31' = {
  parent: workspace
  name: name
  location: location
  tags: tags
  kind: 'fhir-R4'
  properties: {
    authenticationConfiguration: {
      audience: 'https://${workspaceName}-${name}.fhir.azurehealthcareapis.com'
      authority: uri(environment().authentication.loginEndpoint, tenant().tenantId)
    }
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    // Merging needs the versions: the app updates by If-Match and reads the history of what may have been overwritten.
    resourceVersionPolicyConfiguration: {
      default: 'versioned'
    }
  }
}
