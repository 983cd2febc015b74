#!/usr/bin/env python3
"""Speed of one core of this machine in fixed units of standard-library work, to compare runs on different machines.

Prints operations a second: one operation parses, walks, formats and hashes a fixed device message with the standard
library alone. The C# reference's figures in reference.json were measured alongside it on one core, so
`reference rate here = reference.json rate x (this figure / reference.json calibration)`.
"""

import hashlib
import json
import time

MESSAGE = json.dumps(
    {
        "deviceId": "device-7",
        "patientId": "p7",
        "data": [
            {"systolic": str(110 + j), "diastolic": str(70 + j), "date": f"2024-02-29T10:{j:02d}:00.061144Z"}
            for j in range(10)
        ],
    }
)


def operation(text):
    """One unit: parse, read every row, serialise, hash."""
    doc = json.loads(text)
    rows = [(doc["deviceId"], int(r["systolic"]) - int(r["diastolic"]), r["date"][:19]) for r in doc["data"]]
    out = json.dumps({"rows": rows})
    return hashlib.sha256(out.encode()).hexdigest()


def rate(seconds=1.0):
    """Operations a second, the best of five equal slices of `seconds`."""
    best = 0.0
    for _ in range(5):
        n, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < seconds / 5:
            for _ in range(50):
                operation(MESSAGE)
            n += 50
        best = max(best, n / spent)
    return best


if __name__ == "__main__":
    print(f"{rate():.0f}")
