"""Fixtures: an OTLP receiver, and the pipe of this process, which exports to it."""

from collections.abc import Iterator

import pytest

from dev.otlp_receiver import OtlpReceiver
from medtech.telemetry import pipe


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture
def exported(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    """The receiver, to which this process exports all three signals; `pipe.close()` sends what there is."""
    pipe.close()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
    monkeypatch.setenv("PYTHON_ENABLE_OPENTELEMETRY", "true")
    yield receiver
    pipe.close()
