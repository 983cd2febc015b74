"""Jobs and dry runs as JSON: of the HTTP functions and of `--json`."""

from typing import Any

from medtech.dead_letter.document import of_causes
from medtech.replay.dry_run import DryRun
from medtech.replay.job import Job, Left

WHY_LEFT = {
    Left.ROW: "damaged rows of the buffer, which nobody can put through",
    Left.CHANGED: "written again or deleted meanwhile",
    Left.IN_BUFFER: "already in the buffer by an earlier replay",
    Left.OTHER_JOB: "in the hands of another replay job",
    Left.DAMAGED: "damaged, or kept without their content",
    Left.TOO_LARGE: "of more rows than a letter can wait for",
    Left.FAULT: "the app failed over them several times; see the log",
}


def of_job(job: Job, waiting: int | None) -> dict[str, Any]:
    """`waiting` is how many of its letters still wait in the buffer; None if nobody asked."""
    counts = job.counts
    document: dict[str, Any] = {
        "job": job.id,
        "state": str(job.state),
        "created": job.created,
        "began": job.began or None,
        "progress": job.progress or None,
        "selected": job.selected,
        "taken": counts.taken,
        "putThrough": counts.put_through,
        "failedAgain": counts.failed_again,
        "left": {str(reason): count for reason, count in counts.left.items()},
        "message": job.message or None,
    }
    return document if waiting is None else document | {"inBuffer": waiting}


def of_dry_run(result: DryRun) -> dict[str, Any]:
    """`sample` is null while no device mapping is in force."""
    sample = result.sample
    return {
        **of_causes(result.causes),
        "complete": result.complete,
        "inReplay": result.held,
        "damagedRows": result.rows,
        "sample": sample
        and {
            "messages": sample.messages,
            "putThrough": sample.put_through,
            "failAgain": [
                {"error": error, "stage": stage, "messages": count}
                for (error, stage), count in sample.failed_again.most_common()
            ],
        },
    }
