"""Whole runs, as the server makes them: from the pickle to the CSV, in full isolation, against the peer's process.

Ours is `predictd.sandbox.run` with warm parents and the mapped live file, then the check of the submission and its CSV.
The peer is `peer.py` in a new process of the same runtime's Python. Both answer the same, which is checked.
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


@dataclass(frozen=True, kw_fork_only=True)
class Kept:
    """What an earlier run of the pickle handed out for its next ones."""

    tables: Path | None = None
    imports: tuple[str, ...] = ()


@dataclass(kw_fork_only=True)
class Stand:
    """What the runs share: the runtime, the live file in both forms, a folder for what comes out."""

    runtime: RuntimePaths
    live: Path
    mapped: Path
    live_ids: list[str]
    folder: Path
    parents: ForkPool
    reports: list[RunReport] = field(default_factory=list)
    printed: bytes = b""

    def ours(self, model: Path, kept: Kept | None = None, *, parents: ForkPool | None = None) -> float:
        """Seconds of one run, until its CSV is on the disk. `kept` None is a first run, which makes its tables."""
        began = time.perf_counter()
        request = RunRequest(
            pickle=model,
            live=self.mapped,
            benchmarks=None,
            runtime=self.runtime,
            limits=Limits(),
            slot=SLOT,
            imports=kept.imports if kept is not None else likely_imports(model),
            proven=kept is not None,
            tables=kept.tables if kept is not None else None,
            keep_tables=kept is None,
        )
        printed: list[bytes] = []
        report = run(request, on_log=printed.append, fork_pool=parents or self.parents)
        if report.predictions is None:
            raise RuntimeError(f"{model.name} failed: {report.failure}, and printed {b''.join(printed)!r}")
        self.printed = b"".join(printed)
        wrong = check_submission(report.predictions, self.live_ids)
        if wrong is not None:
            raise RuntimeError(f"{model.name} is no submission: {wrong}")
        (self.folder / "ours.csv").write_bytes(predictions_csv(report.predictions))
        seconds = time.perf_counter() - began
        self.reports.append(report)
        return seconds

    def peer(self, model: Path) -> float:
        """Seconds of the peer's process, from its start to its end."""
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
    """The runtime of Python 3.12 in .cache/runtimes, built if it is not there."""
    return build(SPECS["3.12"], trees.ROOT / ".cache" / "runtimes", lambda line: print(line, flush=True)).paths


@contextmanager
def stand() -> Iterator[Stand]:
    """Everything made, in the page cache and started; ended on leaving."""
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
    """As the server has them, but no run starts cold instead: that would be another figure."""
    return ForkPool(4, folders=[models.CACHE, folder], fork_only=True)


def trivial_run() -> dict:
    """A trivial model, warm, against the peer's process; the first run, which starts the parent, is not counted.

    A round is one process of the peer's and as many runs as take about as long, so that both meet the machine alike.
    """
    kept = Kept()
    model = models.trivial(0)
    with stand() as bench:
        bench.ours(model, kept)
        bench.peer(model)
        bench.check_equal()
        rounds = []
        for _ in range(11):
            peer = bench.peer(model)
            # In a row, and not the first: what a run leaves to do after its end is in the time of the next.
            rounds.append(([bench.ours(model, kept) for _ in range(16)][1:], [peer]))
    return against_peer("trivial_run", rounds, 12)


def trivial_throughput() -> dict:
    """200 trivial models in a row, each another pickle, in models per second; the peer's 20 processes lie between."""
    kept = Kept()
    rounds = []
    with stand() as bench:
        bench.ours(models.trivial(1000), kept)
        bench.peer(models.trivial(1000))
        for block in range(10):
            mine = [bench.ours(models.trivial(number), kept) for number in range(20 * block, 20 * block + 20)]
            theirs = [bench.peer(models.trivial(number)) for number in range(2 * block, 2 * block + 2)]
            rounds.append(([statistics.mean(mine)], [statistics.mean(theirs)]))
    found = against_peer("trivial_throughput", rounds, 12)
    rates = {side: round(1 / found[side], 5) for side in ("ours", "peer")}
    return {**found, **rates, "unit": "models/s"}


def trees_whole_run() -> dict:
    """20,000 trees with the tables that the first run handed out, as after a validation."""
    model = models.forest()
    with stand() as bench:
        bench.ours(model)
        first = bench.reports[-1]
        if not first.tables:
            raise RuntimeError("the first run handed out no tables")
        tables = bench.folder / "tables"
        tables.write_bytes(first.tables)
        kept = Kept(tables=tables, imports=first.imports)
        bench.ours(model, kept)
        rounds = []
        for _ in range(3):
            peer = bench.peer(model)
            rounds.append(([bench.ours(model, kept) for _ in range(16)][1:], [peer]))
            bench.check_equal()
    return against_peer("trees_whole_run", rounds, 40)


def trees_first_run() -> dict:
    """The same for first runs, which build the tables and hand them out."""
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
    """MB that a trivial run has for itself: the most of its control group, or of its process if that says more."""
    kept = Kept()
    model = models.watching()
    with stand() as bench:
        bench.ours(model, kept)
        peaks, own = [], []
        for _ in range(15):
            bench.ours(model, kept)
            peaks.append(bench.reports[-1].peak_memory_bytes / 1e6)
            own.append(sum(int(line.split()[1]) for line in bench.printed.decode().splitlines() if line) * 1024 / 1e6)
    peak, process = statistics.median(peaks), statistics.median(own)
    print(f"its control group's peak {peak:.1f} MB; private pages of the model's process {process:.1f} MB", flush=True)
    return bounded("private_memory", max(peak, process), 40, "MB")


def cost_per_model() -> dict:
    """Milliseconds a run where 10 models are run, and where 1,000 are.

    Ten times, ten models with a parent of their own follow upon a hundred of the thousand; both count by their tens.
    """
    kept = Kept()
    few, many = [], []
    with stand() as bench:
        bench.ours(models.trivial(1000), kept)
        for block in range(10):
            few.append(_of_few(bench, kept))
            many += [_of_ten(bench, kept, first) for first in range(100 * block, 100 * block + 100, 10)]
    ten, thousand = statistics.median(few) * 1e3, statistics.median(many) * 1e3
    print(
        f"the first hundred {_per_run(many[:10]):.1f} ms a run, the last hundred {_per_run(many[-10:]):.1f}", flush=True
    )
    return result("cost_per_model", ten / thousand, 0.9, thousand, ten, "ms")


def _of_few(bench: Stand, kept: Kept) -> float:
    parents = warm_parents(bench.folder)
    try:
        bench.ours(models.trivial(1000), kept, parents=parents)
        return _of_ten(bench, kept, 0, parents)
    finally:
        parents.close()


def _of_ten(bench: Stand, kept: Kept, first: int, parents: ForkPool | None = None) -> float:
    began = time.perf_counter()
    for number in range(first, first + 10):
        bench.ours(models.trivial(number), kept, parents=parents)
    return (time.perf_counter() - began) / 10


def _per_run(tens: list[float]) -> float:
    return statistics.median(tens) * 1e3


def against_peer(name: str, rounds: list[tuple[list[float], list[float]]], at_least: float) -> dict:
    """How many times faster ours is in the middle one of the rounds, each the seconds of (ours, the peer's).

    Medians within a round are compared, since what else runs on the machine is alike there and not from round to round.
    """
    medians = [(statistics.median(ours), statistics.median(peer)) for ours, peer in rounds]
    medians.sort(key=lambda one: one[1] / one[0])
    least, most = (peer / ours for ours, peer in (medians[0], medians[-1]))
    print(f"{name}: {len(rounds)} rounds from {least:.1f} to {most:.1f}", flush=True)
    mine, theirs = medians[(len(medians) - 1) // 2]
    return result(name, theirs / mine, at_least, mine, theirs, "s")


def bounded(name: str, ours: float, bound: float, unit: str) -> dict:
    """A figure that must not exceed its bound."""
    return result(name, bound / ours, 1, ours, bound, unit)


def result(name: str, ratio: float, at_least: float, ours: float, peer: float, unit: str) -> dict:
    """One line of last.json."""
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
