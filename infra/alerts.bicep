// Alert rules: when somebody has to look. What each one means and what to do is in docs/operate.md, by the rule's name.
//
// Deployed by main.bicep, or by itself for a function app that exists (docs/deploy.md).

@description('Resource ids of the action groups that are told.')
param actionGroupIds string[] = []

@description('Resource id of the Application Insights component that the app sends to.')
param applicationInsightsId string

@description('Dead letters of one error in an hour above which the rule new-dead-letters fires.')
param deadLetters int = 0

@description('Mail addresses that are told. An action group is created for them.')
param emails string[] = []

@description('Errors per hundred events above which the rule error-rate fires.')
param errorPercent int = 5

@description('Name of the hub that the app reads.')
param eventHubName string = ''

@description('Resource id of its namespace; empty: the hub is not watched from outside.')
param eventHubNamespaceId string = ''

@description('Name of the function app, by which the rules are named.')
param functionAppName string

@description('Minutes that an event may wait in the hub: half of its retention.')
param hubLagMinutes int

@description('Region of the rules: that of Application Insights.')
param location string = resourceGroup().location

@allowed([1, 2, 3, 4, 5, 6, 24, 48])
@description('Hours without any event after which the rule no-events fires.')
param noEventsHours int = 24

@allowed([10, 15, 30, 45])
@description('Minutes without a flush after which the rule no-flush fires.')
param noFlushMinutes int = 10

@description('Minutes that a window may be overdue.')
param overdueMinutes int = 10

@description('Tags of the rules.')
param tags object = {}

@description('Answers 429 and 503 of one server in 15 minutes above which the rule throttling fires.')
param throttledAnswers int = 100

// A table without rows for 30 days cannot be resolved, and a rule that fails for a week is switched off for good: just
// when no telemetry comes. An empty table beside it keeps the query valid.
var metrics = '''
let metrics = union isfuzzy=true
    (datatable(timestamp: datetime, name: string, valueSum: real, customDimensions: dynamic) []),
    (customMetrics | project timestamp, name, valueSum, customDimensions);
'''

// The names of metrics are compared regardless of case, since OpenTelemetry's SDK writes them in small letters.
//
// Each is evaluated over `window`, by which Azure bounds the rows itself. A count of rows needs no `column`. An alert
// is resolved by itself when its condition has not been met for a while.
var logRules = [
  {
    name: 'hub-lag'
    title: 'Hub lag'
    description: 'Events waited in the hub for half of its retention before they were read. Those that wait for all of it are lost. Find out what holds normalize up, and lengthen the retention until it has caught up.'
    severity: 1
    query: '''
metrics
| where name =~ 'HubLagSeconds'
| project timestamp, seconds = valueSum
'''
    timeAggregation: 'Maximum'
    column: 'seconds'
    dimensions: []
    operator: 'GreaterThan'
    threshold: hubLagMinutes * 60
    window: 'PT15M'
    frequency: 'PT5M'
  }
  {
    name: 'oldest-window-overdue'
    title: 'Oldest window overdue'
    description: 'Measurements wait in the buffer long after their window has ended. Nothing is lost. Look at the FHIR server, and at what the last flush says in the health report.'
    severity: 2
    query: '''
metrics
| where name =~ 'OldestWindowSeconds'
| project timestamp, seconds = valueSum
'''
    timeAggregation: 'Maximum'
    column: 'seconds'
    dimensions: []
    operator: 'GreaterThan'
    threshold: overdueMinutes * 60
    window: 'PT10M'
    frequency: 'PT5M'
  }
  {
    name: 'no-flush'
    title: 'No flush'
    description: 'No flush has ended, or the app sends no telemetry. Nothing is written to the FHIR server meanwhile. See whether the function flush runs, and what its last failure says.'
    severity: 1
    query: '''
metrics
| where name =~ 'Flush' and tostring(customDimensions.outcome) in ('completed', 'heldUp') and valueSum > 0
'''
    timeAggregation: 'Count'
    column: ''
    dimensions: []
    operator: 'LessThan'
    threshold: 1
    window: 'PT${noFlushMinutes}M'
    frequency: 'PT5M'
  }
  {
    name: 'flush-held-up'
    title: 'Flush held up'
    description: 'For 15 minutes no flush, or no tick of it, has done all of its work. Measurements wait in the buffer; nothing is lost. The FHIR server is away, refuses access or is too slow, or a storage account is.'
    severity: 2
    // By queue, shards whose account is there are flushed by messages while another account holds up each tick.
    query: '''
metrics
| where name =~ 'Flush' and valueSum > 0
| extend outcome = tostring(customDimensions.outcome), scope = tostring(customDimensions.scope)
| summarize
    heldUp = countif(outcome == 'heldUp'),
    completed = countif(outcome == 'completed'),
    ticksHeldUp = countif(scope == 'tick' and outcome == 'heldUp'),
    ticksDone = countif(scope == 'tick' and outcome in ('completed', 'put'))
| where (heldUp > 0 and completed == 0) or (ticksHeldUp > 0 and ticksDone == 0)
'''
    timeAggregation: 'Count'
    column: ''
    dimensions: []
    operator: 'GreaterThan'
    threshold: 0
    window: 'PT15M'
    frequency: 'PT5M'
  }
  {
    name: 'new-dead-letters'
    title: 'New dead letters'
    description: 'Messages or measurements could not be processed and are kept as dead letters. Correct their cause, then replay them before they expire. The alert is resolved when no more come; the letters are still there.'
    severity: 2
    query: '''
metrics
| where name =~ 'DeadLetters'
| project
    timestamp,
    letters = valueSum,
    error = tostring(customDimensions.name),
    stage = tostring(customDimensions.stage)
'''
    timeAggregation: 'Total'
    column: 'letters'
    dimensions: ['error', 'stage']
    operator: 'GreaterThan'
    threshold: deadLetters
    window: 'PT1H'
    frequency: 'PT5M'
  }
  {
    name: 'error-rate'
    title: 'Error rate'
    description: 'Many events end in an error. A mapping that was changed, or devices that send something new, are the usual causes.'
    severity: 2
    // Ten errors at least: of three events at night one is no rate.
    query: '''
metrics
| where name in~ ('TotalErrors', 'DeviceEvent')
| extend severity = tostring(customDimensions.severity)
| summarize
    errors = coalesce(sumif(valueSum, name =~ 'TotalErrors' and severity != 'Warning'), 0.0),
    events = coalesce(sumif(valueSum, name =~ 'DeviceEvent'), 0.0)
| where errors >= 10
| project percent = 100.0 * errors / max_of(events, 1.0)
'''
    timeAggregation: 'Maximum'
    column: 'percent'
    dimensions: []
    operator: 'GreaterThan'
    threshold: errorPercent
    window: 'PT30M'
    frequency: 'PT5M'
  }
  {
    name: 'throttling'
    title: 'Throttling'
    description: 'The FHIR server or storage turns requests away (429, 503). The app waits and tries again. If it goes on, give the server more capacity, or the app fewer instances.'
    severity: 3
    query: '''
metrics
| where name =~ 'Throttled'
| project timestamp, answers = valueSum, server = tostring(customDimensions.server)
'''
    timeAggregation: 'Total'
    column: 'answers'
    dimensions: ['server']
    operator: 'GreaterThan'
    threshold: throttledAnswers
    window: 'PT15M'
    frequency: 'PT5M'
  }
  {
    name: 'no-events'
    title: 'No events'
    description: 'The app has read no event for a long time. Either nothing is sent, or the app cannot read the hub.'
    severity: 2
    query: '''
metrics
| where name =~ 'DeviceEvent' and valueSum > 0
'''
    timeAggregation: 'Count'
    column: ''
    dimensions: []
    operator: 'LessThan'
    threshold: 1
    window: noEventsHours < 24 ? 'PT${noEventsHours}H' : 'P${noEventsHours / 24}D'
    frequency: 'PT15M'
  }
]

// What the namespace counts itself, which needs no app that runs. It does not tell consumer groups apart: a hub that
// another one reads is never `not read`.
var hubRules = [
  {
    name: 'hub-not-read'
    title: 'Hub not read'
    description: 'Events come into the hub and none is read. See whether the function normalize runs, and whether the app may read the hub: its role, its consumer group, the network.'
    severity: 1
    // Ten at least: one that has just come in is not read yet.
    conditions: [
      {
        metric: 'IncomingMessages'
        operator: 'GreaterThan'
        threshold: 10
      }
      {
        metric: 'OutgoingMessages'
        operator: 'LessThanOrEqual'
        threshold: 0
      }
    ]
    window: 'PT30M'
  }
  {
    name: 'hub-throttled'
    title: 'Hub throttled'
    description: 'The hub turns requests away because its throughput is used up. Senders that do not try again lose events. Give the namespace more throughput units.'
    severity: 2
    conditions: [
      {
        metric: 'ThrottledRequests'
        operator: 'GreaterThan'
        threshold: 0
      }
    ]
    window: 'PT15M'
  }
]

resource mail 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(emails)) {
  name: '${functionAppName}-alerts'
  location: 'Global'
  tags: tags
  properties: {
    groupShortName: 'medtech'
    enabled: true
    emailReceivers: map(emails, email => {
      name: email
      emailAddress: email
      useCommonAlertSchema: true
    })
  }
}

var actionGroups = concat(actionGroupIds, empty(emails) ? [] : [mail.id])

resource onTelemetry 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for rule in logRules: {
  name: '${functionAppName}-${rule.name}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: '${functionAppName}: ${rule.title}'
    description: '${rule.description} See docs/operate.md#${rule.name}.'
    severity: rule.severity
    enabled: true
    scopes: [
      applicationInsightsId
    ]
    evaluationFrequency: rule.frequency
    windowSize: rule.window
    criteria: {
      allOf: [
        {
          query: '${metrics}${rule.query}'
          timeAggregation: rule.timeAggregation
          metricMeasureColumn: empty(rule.column) ? null : rule.column
          dimensions: map(rule.dimensions, dimension => {
            name: dimension
            operator: 'Include'
            values: ['*']
          })
          operator: rule.operator
          threshold: rule.threshold
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    autoMitigate: true
    // A component that has just been created does not know the table yet, and the deployment would fail.
    skipQueryValidation: true
    actions: {
      actionGroups: actionGroups
    }
  }
}]

resource onHub 'Microsoft.Insights/metricAlerts@2018-03-01' = [for rule in hubRules: if (!empty(eventHubNamespaceId)) {
  name: '${functionAppName}-${rule.name}'
  location: 'global'
  tags: tags
  properties: {
    description: '${rule.description} See docs/operate.md#${rule.name}.'
    severity: rule.severity
    enabled: true
    scopes: [
      eventHubNamespaceId
    ]
    evaluationFrequency: 'PT5M'
    windowSize: rule.window
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: map(rule.conditions, condition => {
        criterionType: 'StaticThresholdCriterion'
        name: condition.metric
        metricNamespace: 'Microsoft.EventHub/namespaces'
        metricName: condition.metric
        dimensions: [
          {
            name: 'EntityName'
            operator: 'Include'
            values: [
              eventHubName
            ]
          }
        ]
        timeAggregation: 'Total'
        operator: condition.operator
        threshold: condition.threshold
      })
    }
    autoMitigate: true
    actions: map(actionGroups, group => {
      actionGroupId: group
    })
  }
}]
