"""Fixtures and settings that every test may use."""

from hypothesis import settings

pytest_plugins = ["tests.azurite", "tests.accounts", "tests.fhir_server"]

# A busy machine is no fault of the code: no example of a property has a time limit of its own.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
