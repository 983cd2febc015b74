"""The local run: Azurite, a FHIR R4 server, and a functions host of our own around Microsoft's worker runtime.

    python -m dev run      everything up, with demo patients, devices and traffic; stays up
    python -m dev demo     the same, then compares what was sent with what the FHIR server holds
    python -m dev host     the functions host alone, around any app

Nothing here is deployed: in the cloud Azure Functions, Event Hubs, Storage and a FHIR service take its place.
"""
