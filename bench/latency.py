"""How long readings take from the device to the FHIR server, on the local run and in real time.

    python -m bench.latency --picture docs/latency.svg
    WINDOW_SECONDS=60 FLUSH_GRACE_SECONDS=5 FLUSH_SCHEDULE='*/10 * * * * *' python -m bench.latency

App settings are taken from the environment; without them they have their defaults, and not the short windows of
`make run`. Ten devices send for two windows, six messages a minute each. The latency of a reading is the time from its
sending to the moment at which the FHIR server stored its Observation. Series (SampledData) are left out, since one
Observation holds readings of many times. The picture has a point for each reading, over the time of its sending.
"""

import argparse
import os
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import NamedTuple

from croniter import croniter

from dev.demo import DEVICES, MESSAGES_A_MINUTE, SEED, put_people_and_devices
from dev.resources import search
from dev.stack import LocalStack
from medtech.command import traffic
from medtech.command.destination import LocalHost, send_in_time
from medtech.dotnet import ticks

DEFAULTS = {"WINDOW_SECONDS": "300", "FLUSH_GRACE_SECONDS": "15", "FLUSH_SCHEDULE": "*/30 * * * * *"}
WINDOWS = 2

PATIENCE_SECONDS = 30
"""How much later than the bound a reading may come before it is given up."""


class Arrival(NamedTuple):
    """When a reading was sent (seconds since 1970), and how long it took."""

    sent: float
    seconds: float


def main() -> int:
    """The exit code: 0 if every reading arrived, and none took longer than the settings allow for."""
    parser = argparse.ArgumentParser(prog="python -m bench.latency")
    parser.add_argument("--picture", type=Path, help="draw the readings into this SVG file")
    picture: Path | None = parser.parse_args().picture
    settings = {name: os.environ.get(name, default) for name, default in DEFAULTS.items()}
    window, grace = int(settings["WINDOW_SECONDS"]), int(settings["FLUSH_GRACE_SECONDS"])
    bound = window + grace + seconds_between_ticks(settings["FLUSH_SCHEDULE"])
    print(f"window {window} s, grace {grace} s, schedule {settings['FLUSH_SCHEDULE']}: at most {bound} s and the flush")
    with TemporaryDirectory() as folder, LocalStack(Path(folder), settings=settings) as stack:
        put_people_and_devices(stack.fhir_url)
        messages = list(traffic.messages(DEVICES, MESSAGES_A_MINUTE, WINDOWS * window, ticks.now(), SEED))
        expected = {
            (reading.device_id, reading.type, ticks.floor(reading.time, ticks.TICKS_PER_SECOND))
            for message in messages
            for reading in message.readings
            if reading.type != "steps"
        }
        with LocalHost(stack.host_url) as host:
            send_in_time(messages, host, lambda _: None)
        arrivals: list[Arrival] = []
        deadline = time.monotonic() + bound + PATIENCE_SECONDS
        while len(arrivals) < len(expected) and time.monotonic() < deadline:
            time.sleep(2)
            arrivals = _arrivals(stack.fhir_url)
    if len(arrivals) < 2:
        print("Nothing has arrived.")
        return 1
    latencies = [arrival.seconds for arrival in arrivals]
    most = quantiles(latencies, n=20)[-1]
    print(
        f"{len(latencies)} of {len(expected)} readings: shortest {min(latencies):.0f} s, median "
        f"{median(latencies):.0f} s, 95 % within {most:.0f} s, longest {max(latencies):.0f} s"
    )
    if picture is not None:
        picture.write_text(_drawn(arrivals, window, bound), encoding="utf-8")
    return 0 if len(latencies) == len(expected) and max(latencies) <= bound + PATIENCE_SECONDS else 1


def _arrivals(fhir_url: str) -> list[Arrival]:
    found = []
    for observation in search(fhir_url, "Observation"):
        if not _is_series(observation):
            sent = _seconds(observation["effectivePeriod"]["start"])
            found.append(Arrival(sent, _seconds(observation["meta"]["lastUpdated"]) - sent))
    return found


def _drawn(arrivals: list[Arrival], window: int, bound: int) -> str:
    """A point for each reading; lines where windows end, and at the longest that the settings allow for."""
    start = min(arrival.sent for arrival in arrivals)
    span = max(arrival.sent for arrival in arrivals) - start
    width, height, left, bottom = 760, 320, 60, 40

    def x(sent: float) -> str:
        return f"{left + (sent - start) / span * (width - left - 20):.1f}"

    def y(seconds: float) -> str:
        return f"{height - bottom - seconds / bound * (height - bottom - 30):.1f}"

    first_end = (int(start) // window + 1) * window
    ends = [x(end) for end in range(first_end, int(start + span) + 1, window)]
    points = [f'<circle cx="{x(arrival.sent)}" cy="{y(arrival.seconds)}" r="2"/>' for arrival in arrivals]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
            ' font-size="13">',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            *(f'<path d="M{end} 30V{height - bottom}" stroke="#bbbbbb"/>' for end in ends),
            *(f'<text x="{end}" y="22" text-anchor="middle" fill="#555555">a window ends</text>' for end in ends),
            f'<path d="M{left} {y(bound)}H{width - 20}" stroke="#b03030" stroke-dasharray="5 4"/>',
            f'<path d="M{left} 30V{height - bottom}H{width - 20}" fill="none" stroke="#333333"/>',
            *(
                f'<text x="{left - 8}" y="{y(each)}" text-anchor="end">{each:.0f} s</text>'
                for each in (0, window, bound)
            ),
            f'<text x="{(left + width) / 2}" y="{height - 12}" text-anchor="middle">'
            f"when the reading was sent, over {span:.0f} s</text>",
            '<g fill="#2060a0">',
            *points,
            "</g>",
            "</svg>",
            "",
        ]
    )


def _is_series(observation: dict[str, object]) -> bool:
    return "valueSampledData" in observation


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def seconds_between_ticks(schedule: str) -> int:
    """The longest time between two ticks of a day."""
    start = datetime(2024, 1, 1)
    ticks_of_day = croniter(schedule, start, second_at_beginning=True)
    longest, before = 0.0, start
    while before < start + timedelta(days=1):
        tick = ticks_of_day.get_next(datetime)
        longest, before = max(longest, (tick - before).total_seconds()), tick
    return int(longest)


if __name__ == "__main__":
    sys.exit(main())
