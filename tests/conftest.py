"""Fixtures that every test may use."""

pytest_plugins = ["tests.azurite", "tests.fhir_server"]
