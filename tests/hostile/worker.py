"""Runs models one after another for whoever writes requests: one JSON object a line on stdin, one a line back."""

import hashlib
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from predictd.domain.errors import PlatformError
from predictd.domain.limits import Limits
from predictd.domain.runs import Predictions, RunRequest, RuntimePaths, SandboxKind
from predictd.sandbox import ForkPool, run
from predictd.sandbox.resource_group import hierarchy
from predictd.scoring import check_submission

_SHOWN = 200_000
# As of a server with many connections: descriptors that a run gets later have numbers above the limit of its own.
_HELD = 1200
_held: list[int] = []
_parents: dict[str, ForkPool] = {}


def carry_out(request: dict[str, Any]) -> dict[str, Any]:
    """Run one model and check what it answered, as the platform does."""
    hold_descriptors()
    printed: list[bytes] = []
    folder = Path(request["folder"])
    runtime = request["runtime"]
    paths = {name: Path(runtime[name]) for name in ("python", "prefix", "packages")}
    try:
        report = run(
            RunRequest(
                pickle=folder / f"{request['model']}.pkl",
                live=folder / "live.parquet",
                benchmarks=None,
                runtime=RuntimePaths(version=runtime["version"], **paths),
                limits=Limits(**request["limits"]),
                slot=request["slot"],
            ),
            on_log=printed.append,
            kind=SandboxKind(request.get("kind", "bubblewrap")),
            fork_pool=warm_parents(folder) if request.get("warm") else None,
        )
    except PlatformError as error:
        return {"code": "platform", "says": error.message, "log": "", "answer": None, "peak": 0, "stages": {}}
    failure = report.failure
    if report.predictions is not None:
        failure = check_submission(report.predictions, live_ids(folder))
    return {
        "code": failure.code if failure else "success",
        "says": failure.describe() if failure else None,
        "log": b"".join(printed).decode("utf-8", "replace")[-_SHOWN:],
        "answer": None if report.predictions is None else digest(report.predictions),
        "peak": report.peak_memory_bytes,
        "stages": report.stages,
    }


def hold_descriptors() -> None:
    """Have so many open that all further ones have numbers above the limit of a run's own; once."""
    if not _held:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        _held.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(_HELD))


def warm_parents(folder: Path) -> ForkPool:
    """Those of this process, made once."""
    return _parents.setdefault(str(folder), ForkPool(max_servers=2, folders=[folder], fork_only=True))


def live_ids(folder: Path) -> list[str]:
    return [str(one) for one in pq.read_table(folder / "live.parquet", columns=["id"])["id"].to_pylist()]


def digest(predictions: Predictions) -> str:
    """The same for the same ids and values in the same order."""
    ids = json.dumps(predictions.ids).encode()
    return hashlib.sha256(ids + predictions.values.tobytes()).hexdigest()


def has_groups() -> bool:
    """Whether runs of this process get control groups, by which the kernel counts all memory."""
    return hierarchy() is not None


def main() -> None:
    # What a run prints goes to the log alone; nothing else may come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    print(json.dumps({"uid": os.geteuid(), "has_groups": has_groups()}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(carry_out(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
