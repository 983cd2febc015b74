"""Backfill jobs and their dry runs as JSON: of `GET /api/replay/{job}` and of `--json`."""

from typing import Any

from medtech.backfill.container import shown
from medtech.backfill.dry_run import DryRun
from medtech.backfill.job import BackfillJob
from medtech.dotnet import ticks


def of_backfill(job: BackfillJob) -> dict[str, Any]:
    """`reached` is the time in the name of the file that is under way."""
    counts, request = job.counts, job.request
    return {
        "job": job.id,
        "kind": "backfill",
        "state": str(job.state),
        "created": job.created,
        "began": job.began or None,
        "progress": job.progress or None,
        "container": shown(request.container),
        "from": ticks.format_iso(request.from_time),
        "to": ticks.format_iso(request.to_time),
        "partition": request.partition,
        "reached": None if job.cursor is None else ticks.format_iso(job.cursor.time),
        "files": counts.files,
        "events": counts.events,
        "measurements": counts.measurements,
        "dropped": counts.dropped,
        "deadLetters": counts.letters,
        "faults": counts.faults,
        "faultExamples": [fault._asdict() for fault in job.faults],
        "otherHubs": list(job.others),
        "message": job.message or None,
    }


def of_backfill_dry_run(result: DryRun) -> dict[str, Any]:
    """`sample` is null while no device mapping is in force."""
    sample = result.sample
    return {
        "files": result.files,
        "bytes": result.size_bytes,
        "partitions": list(result.partitions),
        "complete": result.complete,
        "otherHubs": list(result.others),
        "faults": [fault._asdict() for fault in result.faults],
        "sample": sample
        and {
            "events": sample.events,
            "measurements": sample.measurements,
            "dropped": sample.dropped,
            "fail": [
                {"error": error, "stage": stage, "events": count}
                for (error, stage), count in sample.failed.most_common()
            ],
        },
    }
