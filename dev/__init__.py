"""The local run: Microsoft's worker runtime under a functions host of our own, Azurite and a FHIR R4 server.

    python -m dev run      everything up, with demo patients, devices and traffic; stays up
    python -m dev demo     the same, then compares what was sent with what the FHIR server holds
    python -m dev host     the functions host alone, for any app directory

Nothing here is deployed: in the cloud Azure Functions, Event Hubs, Storage and a FHIR service take these places.
"""
