"""Where telemetry goes, as the environment says; read once, at a process's first invocation.

    APPLICATIONINSIGHTS_CONNECTION_STRING       all signals to Azure Monitor
    OTEL_EXPORTER_OTLP_ENDPOINT                 all signals to an OTLP receiver
    OTEL_EXPORTER_OTLP_{SIGNAL}_ENDPOINT        that signal
    OTEL_{SIGNAL}_EXPORTER                      `otlp`, `console` or both instead of what the endpoints imply; `none`
                                                keeps the signal from Azure Monitor too
    OTEL_SDK_DISABLED=true                      nothing to anywhere
    PYTHON_ENABLE_OPENTELEMETRY                 unless it is true, the host exports the app's log lines

Signals are METRICS, TRACES and LOGS. Everything else that OpenTelemetry defines (intervals, headers, sampler, resource)
is read by its SDK.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

AZURE_MONITOR = "azure_monitor"
CONSOLE = "console"
OTLP = "otlp"
_NONE = "none"

_TRUE = ("true", "1", "t", "yes", "y")
"""What the worker takes for true (azure_functions_runtime.utils.helpers)."""


@dataclass(frozen=True, slots=True)
class Destinations:
    """The exporters of each signal, by name. `unknown` are names in OTEL_…_EXPORTER that there is no exporter for."""

    metrics: tuple[str, ...] = ()
    traces: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.metrics or self.traces or self.logs)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        if _is_true(environment.get("OTEL_SDK_DISABLED")):
            return cls()
        metrics, traces, logs = (_names(environment, signal) for signal in ("METRICS", "TRACES", "LOGS"))
        known = (AZURE_MONITOR, CONSOLE, OTLP)
        # The host exports what the worker logs, unless the worker says that the app does.
        own_logs = logs if _is_true(environment.get("PYTHON_ENABLE_OPENTELEMETRY")) else ()
        return cls(
            metrics=tuple(name for name in metrics if name in known),
            traces=tuple(name for name in traces if name in known),
            logs=tuple(name for name in own_logs if name in known),
            unknown=tuple(dict.fromkeys(name for name in (*metrics, *traces, *logs) if name not in known)),
        )


def _names(environment: Mapping[str, str], signal: str) -> tuple[str, ...]:
    chosen = [name.strip().lower() for name in environment.get(f"OTEL_{signal}_EXPORTER", "").split(",")]
    chosen = [name for name in chosen if name]
    if _NONE in chosen:
        return ()
    if not chosen and _is_set(environment, "OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"):
        chosen = [OTLP]
    if _is_set(environment, "APPLICATIONINSIGHTS_CONNECTION_STRING"):
        chosen.append(AZURE_MONITOR)
    return tuple(dict.fromkeys(chosen))


def _is_set(environment: Mapping[str, str], *names: str) -> bool:
    return any(environment.get(name, "").strip() for name in names)


def _is_true(value: str | None) -> bool:
    return (value or "").strip().lower() in _TRUE
