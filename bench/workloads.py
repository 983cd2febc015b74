#!/usr/bin/env python3
"""Messages of the throughput workloads in reference.json: workloads.py NAME > messages.jsonl"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent


def single():
    """One reading a message (mapping single.device.json)."""
    for i in range(1000):
        yield {
            "heartRate": str(60 + i % 40),
            "endDate": f"2024-02-29T10:{i % 60:02d}:{i % 59:02d}.250Z",
            "deviceId": f"device-{i % 50}",
            "patientId": f"p{i % 50}",
            "battery": 0.87,
            "firmware": "1.2.3",
        }


def seventeen():
    """One reading a message, seventeen templates to try (mapping seventeen.device.json)."""
    templates = json.loads((HERE / "seventeen.device.json").read_text())["template"]
    for i in range(1000):
        name = templates[i % 17]["template"]["typeName"]
        extra = {"steadiness": "3"} if name == "posture" else {}
        yield {
            name: str(60 + i % 40),
            **extra,
            "endDate": f"2024-02-29T10:{i % 60:02d}:{i % 59:02d}.250Z",
            "deviceId": f"d{i % 50}",
        }


def batch():
    """Fifty readings a message (mappings batch.device.json and jmespath.device.json)."""
    for i in range(100):
        yield {
            "deviceId": f"device-{i}",
            "patientId": f"p{i}",
            "data": [
                {
                    "systolic": str(110 + j % 30),
                    "diastolic": str(70 + j % 20),
                    "date": f"2024-02-29T10:{j % 60:02d}:00.061144Z",
                }
                for j in range(50)
            ],
        }


if __name__ == "__main__":
    for message in {"single": single, "seventeen": seventeen, "batch": batch}[sys.argv[1]]():
        print(json.dumps(message))
