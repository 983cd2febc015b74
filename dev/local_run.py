"""`make run` and `make demo` as a person sees them: progress, a table of what was written, where to look next."""

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dev.demo import QUICK_SETTINGS, Outcome, Written, play, put_people_and_devices, why_not
from dev.otlp_receiver import OtlpReceiver
from dev.picture import Picture
from dev.processes import ROOT, LocalRunFailed
from dev.resources import export
from dev.stack import LocalStack, Ports
from medtech.settings import FhirWrite
from medtech.setup.check import faults, missing_mappings, misspelt

_SHOWN_MISSING = 5
_DEVICES_IN_THE_PICTURE = 3
_EXPORTS_KEPT = 5
"""Of the app's metrics: each has all of them."""
_EXPORT_SECONDS = 5.0
"""How long to wait for the next ones, which come each second."""
_TICK = re.compile(r" INFO Function\.\w+: Execut(?:ing|ed) ")


class LocalRun:
    """One run, for a person at a terminal or a script that reads the last line."""

    def __init__(
        self,
        data_folder: Path,
        ports: Ports,
        settings: Mapping[str, str],
        *,
        fresh: bool,
        export_path: Path | None = None,
        picture_path: Path | None = None,
        retention_hours: float | None = None,
    ) -> None:
        self._console = Console(highlight=False)
        if not self._console.is_terminal:
            self._console.width = 100
        self._export_path = export_path
        self._picture_path = picture_path
        self._picture = Picture("make demo")
        self._receiver = OtlpReceiver(_EXPORTS_KEPT)
        self._stack = LocalStack(
            data_folder,
            settings=self._metrics_settings(settings) | local_settings(settings),
            ports=ports,
            fresh=fresh,
            retention_hours=retention_hours,
        )

    def run(self) -> None:
        """Starts everything, plays the demo and follows the log until Ctrl-C. Raises LocalRunFailed."""
        with self._up():
            if (reason := self._why_no_demo()) is None:
                self._play_and_show()
            else:
                self._console.print(f"{reason} No demo traffic is sent.", style="yellow", markup=False, soft_wrap=True)
                put_people_and_devices(self._stack.fhir_url)
                self._write_export()
            self._show_addresses()
            self._console.print("\nEverything stays up until Ctrl-C. The app's log:")
            try:
                self._follow_log()
            except KeyboardInterrupt:
                self._show_metrics()
                self._console.print("\nStopping.")

    def demo(self) -> bool:
        """Starts everything, plays the demo and ends; whether every reading arrived. Raises LocalRunFailed."""
        with self._up(needs_demo=True):
            outcome = self._play_and_show()
        return not outcome.missing

    def _why_no_demo(self) -> str | None:
        return why_not(os.environ | self._stack.settings)

    def _play_and_show(self) -> Outcome:
        outcome = self._play()
        self._show(outcome)
        self._show_metrics()
        self._show_missing(outcome)
        self._write_export()
        self._show_end(outcome)
        return outcome

    @contextmanager
    def _up(self, *, needs_demo: bool = False) -> Iterator[None]:
        started = time.monotonic()
        with _terminated_as_interrupted(), self._receiver:
            self._check_settings()
            if needs_demo and (reason := self._why_no_demo()) is not None:
                raise LocalRunFailed(f"{reason} `make run` starts the app without the demo.")
            with self._console.status("Starting Azurite, the FHIR server, the event hub and the functions host"):
                self._stack.__enter__()
            try:
                self._say(f"Azurite, FHIR server, event hub and functions host are up ({_since(started)}).")
                yield
            finally:
                # Azurite needs a few seconds to save what it holds; a second Ctrl-C would take them away.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                self._stack.__exit__(None, None, None)

    def _check_settings(self) -> None:
        """Raises LocalRunFailed if the app could not run, which would show only in its log, and in no reading
        arriving."""
        environment = os.environ | self._stack.settings
        hints = [hint.message for hint in misspelt(environment)]
        if found := [*faults(environment), *missing_mappings(environment)]:
            raise LocalRunFailed("\n".join(["The app cannot run.", *(fault.message for fault in found), *hints]))
        for hint in hints:
            self._console.print(hint, style="yellow", markup=False, soft_wrap=True)

    def _play(self) -> Outcome:
        put_people_and_devices(self._stack.fhir_url)
        started = time.monotonic()
        progress = Progress(
            TextColumn("readings in the FHIR server"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        with progress:
            task = progress.add_task("", total=None)
            outcome = play(self._stack, lambda count, total: progress.update(task, completed=count, total=total))
        found = outcome.readings - len(outcome.missing)
        self._say(f"{found} of {outcome.readings} readings are in the FHIR server ({_since(started)}).")
        return outcome

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)
        self._picture.add(line)

    def _show(self, outcome: Outcome) -> None:
        self._console.print(_table(outcome.written))
        devices = sorted({each.device_id for each in outcome.written})[:_DEVICES_IN_THE_PICTURE]
        self._picture.add(_table([each for each in outcome.written if each.device_id in devices]))
        self._picture.add("…")

    def _show_end(self, outcome: Outcome) -> None:
        """The line that a script reads, and with it the picture is complete."""
        if self._picture_path is not None:
            self._picture.add(outcome.line)
            self._picture.write(self._picture_path)
        self._console.print(outcome.line, soft_wrap=True)

    def _metrics_settings(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Those by which the app's metrics come here, unless the user has them elsewhere."""
        if any(name.startswith("OTEL_EXPORTER_OTLP") for name in (*settings, *os.environ)):
            return {}
        return {
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{self._receiver.endpoint}/v1/metrics",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        }

    def _show_metrics(self) -> None:
        """What the app has counted since its worker started."""
        # One may be under way, the next one has everything that happened until now.
        self._receiver.wait_for(2, seconds=_EXPORT_SECONDS)
        points = self._receiver.points()
        if not points:
            return
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("metric", no_wrap=True)
        table.add_column("dimensions", overflow="fold")
        table.add_column("value", justify="right", no_wrap=True)
        for (metric, dimensions), (value, count) in sorted(points.items()):
            told = f"{value:,.0f}" if count == 1 else f"{value / count:,.0f} on average"
            table.add_row(metric, ", ".join(f"{name} {each}" for name, each in dimensions), told)
        self._console.print()
        self._console.print(table)

    def _show_missing(self, outcome: Outcome) -> None:
        for reading in sorted(outcome.missing)[:_SHOWN_MISSING]:
            self._console.print(f"missing: {reading.device_id} {reading.type}")
        if outcome.missing:
            self._console.print(f"{len(outcome.missing)} readings are missing; see {self._stack.host.log_path}")

    def _write_export(self) -> None:
        if self._export_path is not None:
            count = export(self._stack.fhir_url, self._export_path)
            self._console.print(f"{count} resources exported to {self._export_path}", soft_wrap=True, markup=False)

    def _show_addresses(self) -> None:
        stack = self._stack
        hub = stack.settings["EVENT_HUB_NAME"]
        command = f"{_from_here(Path(sys.executable))} -m medtech"
        settings = _from_here(stack.data_folder / "local.settings.json")
        rows = {
            "FHIR server": f"{stack.fhir_url}/Observation",
            "functions host": stack.host_url,
            "event hub (AMQP)": f"{stack.event_hubs_connection_string};EntityPath={hub}",
            "event hub (REST)": f"{stack.event_hubs_url}/{hub}/messages",
            "hub and checkpoints": f"{stack.host_url}/dev/hub",
            "health": f"{stack.host_url}/api/health",
            "mapping debugger": f"{stack.host_url}/api/debugger",
            "validate (POST)": f"{stack.host_url}/api/validate",
            "x-functions-key": stack.function_key,
            "settings in force": settings,
            "logs": _from_here(stack.log_folder),
            "more traffic": f"{command} simulate --at-once --host {stack.host_url}",
            "health, as a table": f"{command} --settings {settings} status",
            "what failed, and why": f"{command} --settings {settings} dead-letters",
        }
        if stack.settings.get("FHIR_WRITE") == FhirWrite.COMPARE:
            rows["compares only"] = f"{command} --settings {settings} compare"
        self._console.print()
        for name, address in rows.items():
            self._console.print(f"{name:20} {address}", soft_wrap=True, markup=False)

    def _follow_log(self) -> NoReturn:
        with self._stack.host.log_path.open(encoding="utf-8", errors="replace") as log:
            log.seek(0, 2)
            while True:
                line = log.readline()
                if line and not _TICK.search(line):
                    self._console.print(line.rstrip(), markup=False, soft_wrap=True)
                elif not line:
                    self._check_servers()
                    time.sleep(0.2)

    def _check_servers(self) -> None:
        for server in self._stack.servers:
            if not server.running:
                raise LocalRunFailed(f"{server.name} has ended: see {server.log_path}, then start again.")


def _table(written: Iterable[Written]) -> Table:
    """One row per device and type: how many Observations, the period they span, the latest value."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("patient", "device", "type", "n", "period (UTC)"):
        table.add_column(heading, no_wrap=True)
    table.add_column("latest value")
    by_series: dict[tuple[str, str], list[Written]] = {}
    for each in sorted(written, key=lambda each: (each.device_id, each.type, each.start)):
        by_series.setdefault((each.device_id, each.type), []).append(each)
    device_before = ""
    for (device_id, type_name), series in by_series.items():
        if device_before not in ("", device_id):
            table.add_section()
        first, last = series[0], series[-1]
        patient = first.patient if device_id != device_before else ""
        device = device_id if device_id != device_before else ""
        period = f"{_clock(first.start)}–{_clock(last.end)}"
        table.add_row(patient, device, type_name, str(len(series)), period, last.value)
        device_before = device_id
    return table


def local_settings(settings: Mapping[str, str]) -> dict[str, str]:
    """The user's settings, without those that say where storage, hub and FHIR server are: these run here."""
    elsewhere = (  # prefixes: a connection may be several settings
        "AzureWebJobsStorage",
        "BufferStorage",
        "EventHubConnection",
        "EVENT_HUB_NAME",
        "FHIR_SERVICE_URL",
        "FHIR_AUDIENCE",
        "FHIR_AUTHENTICATION",
        "FHIR_ALLOW_PLAIN_HTTP",
        "FHIR_USERNAME",
        "FHIR_PASSWORD",
        "FHIR_TOKEN_URL",
        "FHIR_CLIENT_",
        "FHIR_SCOPE",
    )
    own = {name: value for name, value in settings.items() if not name.startswith(elsewhere)}
    return QUICK_SETTINGS | own


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends the run in order, as Ctrl-C does. So does SIGINT, even if a script's shell has it ignored."""

    def interrupt(_number: int, _frame: Any) -> NoReturn:
        raise KeyboardInterrupt

    before: dict[int, Callable[[int, Any], Any] | int | None] = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _clock(time_text: str) -> str:
    return time_text[11:19]


def _since(started: float) -> str:
    return f"{time.monotonic() - started:.1f} s"


def _from_here(path: Path) -> str:
    """A path, relative to the project's folder if it is inside."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
