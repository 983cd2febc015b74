"""Settings that the app needs before it runs, for tests that run it in a process of its own.

Nothing is opened by them: a test that reads a hub, or keeps something in storage, sets its own.
"""

USABLE_SETTINGS = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "EventHubConnection__fullyQualifiedNamespace": "hub.example.org",
    "EVENT_HUB_NAME": "devicedata",
}
