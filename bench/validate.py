"""What a validation of 1,000 messages takes, with the mappings that a new app starts with. `python -m bench.validate`

The first one also imports what only a validation needs; the others are a warm instance's.
"""

import json
import time
from pathlib import Path

from medtech.dotnet import ticks
from medtech.validation.message import read_message
from medtech.validation.validator import read_mappings, validate

MAPPINGS = Path(__file__).parents[1] / "mappings"
_MESSAGES = 1000
_RUNS = 5


def main() -> None:
    device, fhir = (
        (MAPPINGS / f"{name}.json").read_text("utf-8") for name in ("deviceMapping", "fhirDestinationMapping")
    )
    samples = json.loads((MAPPINGS / "sampleMessages.json").read_text("utf-8"))
    # Other times, so that each reading is an Observation of its own: that is the most work.
    times = (ticks.format_iso(ticks.now() - number * ticks.TICKS_PER_MINUTE) for number in range(_MESSAGES))
    messages = [{**samples[number % len(samples)], "endDate": moment} for number, moment in enumerate(times)]
    for run in range(_RUNS):
        begin = time.perf_counter()
        mappings = read_mappings(device, fhir)
        events = [read_message(message, number) for number, message in enumerate(messages)]
        outcome = validate(mappings, events, aggregate=False, issued=ticks.now())
        seconds = time.perf_counter() - begin
        print(f"run {run + 1}: {len(messages)} messages, {len(outcome.stored)} Observations in {seconds:.2f} s")


if __name__ == "__main__":
    main()
