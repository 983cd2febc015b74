"""Which exporters the environment asks for."""

import pytest

from medtech.telemetry.destinations import AZURE_MONITOR, CONSOLE, OTLP, Destinations

AZURE = {"APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=…"}
COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
OWN_LOGS = {"PYTHON_ENABLE_OPENTELEMETRY": "true"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Destinations()),
        (COLLECTOR, Destinations((OTLP,), (OTLP,))),
        (COLLECTOR | OWN_LOGS, Destinations((OTLP,), (OTLP,), (OTLP,))),
        (AZURE | OWN_LOGS, Destinations((AZURE_MONITOR,), (AZURE_MONITOR,), (AZURE_MONITOR,))),
        (AZURE | COLLECTOR, Destinations((OTLP, AZURE_MONITOR), (OTLP, AZURE_MONITOR))),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, Destinations((), (OTLP,))),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, Destinations()),
        ({"OTEL_METRICS_EXPORTER": "console"}, Destinations((CONSOLE,))),
        (COLLECTOR | {"OTEL_METRICS_EXPORTER": "console, otlp"}, Destinations((CONSOLE, OTLP), (OTLP,))),
        (AZURE | COLLECTOR | {"OTEL_TRACES_EXPORTER": "none"}, Destinations((OTLP, AZURE_MONITOR))),
        (AZURE | COLLECTOR | OWN_LOGS | {"OTEL_SDK_DISABLED": "True"}, Destinations()),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, Destinations(unknown=("zipkin",))),
        (AZURE | {"OTEL_TRACES_EXPORTER": "zipkin"}, Destinations((AZURE_MONITOR,), (AZURE_MONITOR,), (), ("zipkin",))),
    ],
)
def test_each_signal_goes_where_the_environment_says(environment: dict[str, str], expected: Destinations) -> None:
    assert Destinations.of(environment) == expected
    assert bool(Destinations.of(environment)) == bool(expected.metrics or expected.traces or expected.logs)
