"""Whole runs as on the server: from the pickle to the CSV, fully isolated, against the peer's process.

predictd uses `predictd.sandbox.run` with warm parents and the mapped live file, then checks the submission and writes
its CSV. The peer is `peer.py` in a new process of the same runtime's Python. Both results must be equal.
"""

import csv
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import models

import trees
from predictd.data import read_ids
from predictd.data.mapped_cache import MappedCache
from predictd.domain.limits import Limits
from predictd.domain.runs import RunReport, RunRequest, RuntimePaths
from predictd.runtimes import SPECS, build
from predictd.sandbox import ForkPool, run
from predictd.sandbox.import_hints import likely_imports
from predictd.scoring import check_submission, predictions_csv

PEER = Path(__file__).with_name("peer.py")
SLOT = 990


@dataclass(frozen=True, kw_only=True)
class Cached:
    """The output of an earlier run of the pickle for its next runs."""

    tables: Path | None = None
    imports: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Stand:
    """Resources shared by the runs: the runtime, the live file in both forms, and an output folder."""

    runtime: RuntimePaths
    live: Path
    mapped: Path
    live_ids: list[str]
    folder: Path
    parents: ForkPool
    reports: list[RunReport] = field(default_factory=list)
    printed: bytes = b""

    def ours(self, model: Path, cached: Cached | None = None, *, parents: ForkPool | None = None) -> float:
        """Return the seconds of one run until its CSV is on disk. Without `cached`, it is a first run, which builds
        tables.
        """
        began = time.perf_counter()
        request = RunRequest(
            pickle=model,
            live=self.mapped,
            benchmarks=None,
            runtime=self.runtime,
            limits=Limits(),
            slot=SLOT,
            imports=cached.imports if cached is not None else likely_imports(model),
            proven=cached is not None,
            tables=cached.tables if cached is not None else None,
            keep_tables=cached is None,
        )
        printed: list[bytes] = []
        report = run(request, on_log=printed.append, fork_pool=parents or self.parents)
        if report.predictions is None:
            raise RuntimeError(f"{model.name} failed: {report.failure}, and printed {b''.join(printed)!r}")
        self.printed = b"".join(printed)
        failure = check_submission(report.predictions, self.live_ids)
        if failure is not None:
            raise RuntimeError(f"{model.name} has an invalid submission: {failure}")
        (self.folder / "ours.csv").write_bytes(predictions_csv(report.predictions))
        seconds = time.perf_counter() - began
        self.reports.append(report)
        return seconds

    def peer(self, model: Path) -> float:
        """Return the seconds of the peer's process, from start to end."""
        command = [str(trees.runtime()), str(PEER), str(model), str(self.live), str(self.folder / "peer.csv")]
        began = time.perf_counter()
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        return time.perf_counter() - began

    def check_equal(self) -> None:
        """Raise unless both wrote the same ids and numbers in their last runs."""
        ours, peers = (_read(self.folder / name) for name in ("ours.csv", "peer.csv"))
        if ours != peers:
            raise RuntimeError("the predictions of the two differ")


def prepare_runtime() -> RuntimePaths:
    """Return the runtime of Python 3.12 in .cache/runtimes, built if missing."""
    return build(SPECS["3.12"], trees.ROOT / ".cache" / "runtimes", lambda line: print(line, flush=True)).paths


@contextmanager
def stand() -> Iterator[Stand]:
    """Yield the resources, created, in the page cache and started; stop them at the end."""
    runtime, live = prepare_runtime(), models.live()
    live.read_bytes()
    with tempfile.TemporaryDirectory(prefix="predictd-bench-") as name:
        parents = warm_parents(Path(name))
        try:
            yield Stand(
                runtime=runtime,
                live=live,
                mapped=MappedCache(folder=models.CACHE / "mapped").path_of(live),
                live_ids=read_ids(live),
                folder=Path(name),
                parents=parents,
            )
        finally:
            parents.close()


def warm_parents(folder: Path) -> ForkPool:
    """Return warm parents as on the server, but without cold runs as a fallback, which are another figure."""
    return ForkPool(4, folders=[models.CACHE, folder], fork_only=True)


def trivial_run() -> dict:
    """A warm trivial model against the peer's process; the first run, which starts the parent, is not counted.

    A round is one process of the peer and as many runs as take about as long, so that both see the same machine load.
    """
    cached = Cached()
    model = models.trivial(0)
    with stand() as bench:
        bench.ours(model, cached)
        bench.peer(model)
        bench.check_equal()
        rounds = []
        for _ in range(11):
            peer = bench.peer(model)
            # Consecutive runs without the first: cleanup after a run counts toward the next run.
            rounds.append(([bench.ours(model, cached) for _ in range(16)][1:], [peer]))
    return against_peer("trivial_run", rounds, 12)


def trivial_throughput() -> dict:
    """200 different trivial models in a row, in models per second, with 20 processes of the peer in between."""
    cached = Cached()
    rounds = []
    with stand() as bench:
        bench.ours(models.trivial(1000), cached)
        bench.peer(models.trivial(1000))
        for block in range(10):
            mine = [bench.ours(models.trivial(number), cached) for number in range(20 * block, 20 * block + 20)]
            theirs = [bench.peer(models.trivial(number)) for number in range(2 * block, 2 * block + 2)]
            rounds.append(([statistics.mean(mine)], [statistics.mean(theirs)]))
    figures = against_peer("trivial_throughput", rounds, 12)
    rates = {side: round(1 / figures[side], 5) for side in ("ours", "peer")}
    return {**figures, **rates, "unit": "models/s"}


def trees_whole_run() -> dict:
    """20,000 trees with the tables of the first run, as after a validation."""
    model = models.forest()
    with stand() as bench:
        bench.ours(model)
        first = bench.reports[-1]
        if not first.tables:
            raise RuntimeError("the first run returned no tables")
        tables = bench.folder / "tables"
        tables.write_bytes(first.tables)
        cached = Cached(tables=tables, imports=first.imports)
        bench.ours(model, cached)
        rounds = []
        for _ in range(3):
            peer = bench.peer(model)
            rounds.append(([bench.ours(model, cached) for _ in range(16)][1:], [peer]))
            bench.check_equal()
    return against_peer("trees_whole_run", rounds, 40)


def trees_first_run() -> dict:
    """The same for first runs, which build the tables."""
    model = models.forest()
    with stand() as bench:
        bench.ours(model)  # starts the parent
        rounds = []
        for _ in range(3):
            peer = bench.peer(model)
            rounds.append(([bench.ours(model) for _ in range(4)], [peer]))
            bench.check_equal()
    return against_peer("trees_first_run", rounds, 12)


def private_memory() -> dict:
    """MB of private memory of a trivial run: the larger peak of its control group and its process."""
    cached = Cached()
    model = models.watching()
    with stand() as bench:
        bench.ours(model, cached)
        peaks, own = [], []
        for _ in range(15):
            bench.ours(model, cached)
            peaks.append(bench.reports[-1].peak_memory_bytes / 1e6)
            own.append(sum(int(line.split()[1]) for line in bench.printed.decode().splitlines() if line) * 1024 / 1e6)
    peak, process = statistics.median(peaks), statistics.median(own)
    print(f"its control group's peak {peak:.1f} MB; private pages of the model's process {process:.1f} MB", flush=True)
    return bounded("private_memory", max(peak, process), 40, "MB")


def cost_per_model() -> dict:
    """Milliseconds per run with 10 models, and with 1,000.

    Ten times, ten models with a separate parent alternate with a hundred of the thousand; both are measured in tens.
    """
    cached = Cached()
    few, many = [], []
    with stand() as bench:
        bench.ours(models.trivial(1000), cached)
        for block in range(10):
            few.append(_of_few(bench, cached))
            many += [_of_ten(bench, cached, first) for first in range(100 * block, 100 * block + 100, 10)]
    ten, thousand = statistics.median(few) * 1e3, statistics.median(many) * 1e3
    print(
        f"the first hundred {_per_run(many[:10]):.1f} ms a run, the last hundred {_per_run(many[-10:]):.1f}", flush=True
    )
    return result("cost_per_model", ten / thousand, 0.9, thousand, ten, "ms")


def _of_few(bench: Stand, cached: Cached) -> float:
    parents = warm_parents(bench.folder)
    try:
        bench.ours(models.trivial(1000), cached, parents=parents)
        return _of_ten(bench, cached, 0, parents)
    finally:
        parents.close()


def _of_ten(bench: Stand, cached: Cached, first: int, parents: ForkPool | None = None) -> float:
    began = time.perf_counter()
    for number in range(first, first + 10):
        bench.ours(models.trivial(number), cached, parents=parents)
    return (time.perf_counter() - began) / 10


def _per_run(tens: list[float]) -> float:
    return statistics.median(tens) * 1e3


def against_peer(name: str, rounds: list[tuple[list[float], list[float]]], at_least: float) -> dict:
    """Return how many times faster predictd is in the median round, each the seconds of (predictd, peer).

    Medians within a round are compared, because the machine's load is similar within a round, but not between rounds.
    """
    medians = [(statistics.median(ours), statistics.median(peer)) for ours, peer in rounds]
    medians.sort(key=lambda pair: pair[1] / pair[0])
    lowest, highest = (peer / ours for ours, peer in (medians[0], medians[-1]))
    print(f"{name}: {len(rounds)} rounds from {lowest:.1f} to {highest:.1f}", flush=True)
    mine, theirs = medians[(len(medians) - 1) // 2]
    return result(name, theirs / mine, at_least, mine, theirs, "s")


def bounded(name: str, ours: float, bound: float, unit: str) -> dict:
    """Return a figure that must not exceed its bound."""
    return result(name, bound / ours, 1, ours, bound, unit)


def result(name: str, ratio: float, at_least: float, ours: float, peer: float, unit: str) -> dict:
    """Return one entry of last.json."""
    return {
        "name": name,
        "ratio": round(ratio, 2),
        "at_least": at_least,
        "ours": round(ours, 5),
        "peer": round(peer, 5),
        "unit": unit,
    }


def _read(path: Path) -> list[tuple[str, float]]:
    with path.open(newline="") as file:
        return [(key, float(value)) for key, value in list(csv.reader(file))[1:]]


FIGURES = {
    function.__name__: function
    for function in (trivial_run, trivial_throughput, trees_whole_run, trees_first_run, private_memory, cost_per_model)
}
