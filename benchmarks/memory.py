"""Memory of 20 concurrent runs: at most 20 times a run's own working set, plus one copy of the live data.

Each run loads the full live data (6,500 rows, 2,748 features) and a model's copy of a part of it, and waits until all
runs have done so. The memory is that of a control group around everything (root, v1 or v2): processes, page cache and
kernel memory. Without a control group it is that of the whole machine, which should be idle. A run's own working set is
what a single run adds; the data files are in the page cache before. Run `.venv/bin/python benchmarks/memory.py`; the
exit code is 1 if more memory is used.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from predictd.data import generate, plan_named
from predictd.domain.limits import MIB, Limits
from predictd.domain.runs import RunRequest, RuntimePaths
from predictd.runtimes import build, default_spec
from predictd.sandbox import RunCancelledError, run

ROOT = Path(__file__).resolve().parents[1]
MAKE_PICKLE = """
import sys, cloudpickle

def predict(live_features, live_benchmark_models):
    import time
    features = [name for name in live_features.columns if name.startswith("feature_")]
    matrix = live_features[features[:400]].to_numpy("float32")
    print("holding", flush=True)
    time.sleep(3000)
    return matrix

open(sys.argv[1], "wb").write(cloudpickle.dumps(predict))
"""
# Pages that the kernel allocates in batches, and threads of this process.
TOLERANCE = 0.02
LIMITS = Limits(seconds=900)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The files of a run."""

    pickle: Path
    live: Path
    benchmarks: Path
    runtime: RuntimePaths

    @property
    def data_bytes(self) -> int:
        return self.live.stat().st_size + self.benchmarks.stat().st_size

    def request(self, slot: int) -> RunRequest:
        return RunRequest(
            pickle=self.pickle,
            live=self.live,
            benchmarks=self.benchmarks,
            runtime=self.runtime,
            limits=LIMITS,
            slot=slot,
        )


class Meter:
    """The memory of this program, its runs and the page cache that they filled."""

    def __init__(self, group: Path | None) -> None:
        self._group = group

    @property
    def scope(self) -> str:
        return "the whole machine" if self._group is None else "a control group around all runs"

    def used(self) -> int:
        if self._group is None:
            lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
            return (_kib(lines["MemTotal"]) - _kib(lines["MemAvailable"])) * 1024
        v1 = self._group / "memory.usage_in_bytes"
        return int((v1 if v1.exists() else self._group / "memory.current").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="concurrent runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="predictd-memory-") as folder, metered() as meter:
        bench = prepare(Path(folder))
        print(f"measuring {meter.scope}; warming up", flush=True)
        added(bench, meter, 1)
        alone = [added(bench, meter, 1) for _ in range(3)]
        print(f"one run alone: {', '.join(f'{bytes_added / MIB:.0f}' for bytes_added in alone)} MiB", flush=True)
        together = added(bench, meter, arguments.runs)
        passed = report(statistics.median(alone), together, bench.data_bytes, arguments.runs)
    sys.exit(0 if passed else 1)


def prepare(folder: Path) -> Bench:
    """Generate live data of full width, which stays in the page cache, and the pickle."""
    print("generating the live data", flush=True)
    small = {"train_eras": 1, "train_rows": 20, "validation_eras": 1, "validation_rows": 20}
    generate(folder / "data", replace(plan_named("full"), **small), lambda *_: None)
    cached = ROOT / ".cache" / "runtimes"
    home = cached if cached.is_dir() else Path("~/.predictd/runtimes").expanduser()
    runtime = build(default_spec(), home, lambda line: print(line, flush=True))
    subprocess.run([str(runtime.executable), "-c", MAKE_PICKLE, str(folder / "model.pkl")], check=True)
    # Runs have other users.
    folder.chmod(0o755)
    live, benchmarks = folder / "data" / "live.parquet", folder / "data" / "live_benchmark_models.parquet"
    for path in (live, benchmarks):
        path.read_bytes()
    return Bench(pickle=folder / "model.pkl", live=live, benchmarks=benchmarks, runtime=runtime.paths)


def added(bench: Bench, meter: Meter, count: int) -> int:
    """Return the bytes that this many runs add while all of them hold their data."""
    before = settled(meter)
    cancel, holding = threading.Event(), threading.Semaphore(0)

    def hold(slot: int) -> None:
        def on_log(chunk: bytes) -> None:
            for _ in range(chunk.count(b"holding")):
                holding.release()

        with suppress(RunCancelledError):
            failed = run(bench.request(slot), on_log=on_log, cancel=cancel).failure
            sys.exit(f"a run ended: {failed}")

    with ThreadPoolExecutor(count) as pool:
        runs = [pool.submit(hold, slot) for slot in range(count)]
        try:
            for number in range(count):
                while not holding.acquire(timeout=1):
                    if any(future.done() for future in runs):
                        sys.exit("a run ended before it held its data")
                if count > 1 and sys.stdout.isatty():
                    print(f"\r{number + 1} of {count} runs hold their data", end="", flush=True)
            during = settled(meter)
        finally:
            cancel.set()
        for future in runs:
            future.result()
    if count > 1 and sys.stdout.isatty():
        print()
    return during - before


def settled(meter: Meter) -> int:
    """Return the median memory over a second, after ended processes are gone."""
    time.sleep(2)
    values = []
    for _ in range(10):
        values.append(meter.used())
        time.sleep(0.1)
    return int(statistics.median(values))


def report(alone: float, together: int, data: int, runs: int) -> bool:
    """Print the comparison and return whether the memory is within the bound."""
    allowed = runs * alone + data
    total = together + data
    ratio = total / allowed
    passed = ratio <= 1 + TOLERANCE
    print(f"one run's own working set   {alone / MIB:8.0f} MiB")
    print(f"one copy of the data        {data / MIB:8.0f} MiB")
    print(f"{runs} runs with the data    {total / MIB:8.0f} MiB")
    print(f"{runs} working sets and data  {allowed / MIB:8.0f} MiB")
    print(f"ratio {ratio:.3f} of at most {1 + TOLERANCE:.2f}: {'PASS' if passed else 'FAIL'}")
    return passed


@contextmanager
def metered() -> Iterator[Meter]:
    """Put this process, and so all runs, into a new memory control group, if possible."""
    own = next((folder for folder in own_groups() if os.access(folder, os.W_OK)), None)
    if own is None:
        yield Meter(None)
        return
    group = own / f"bench-{os.getpid()}"
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield Meter(group)
    finally:
        (own / "cgroup.procs").write_text(str(os.getpid()))
        for inner in [*group.glob("*/"), group]:
            with suppress(OSError):
                inner.rmdir()


def own_groups() -> Iterator[Path]:
    """Yield the folder of this process's memory control group, in either version."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if "memory" in names.split(","):
            yield Path("/sys/fs/cgroup/memory") / path.lstrip("/")
        elif not names and Path("/sys/fs/cgroup/cgroup.controllers").exists():
            yield Path("/sys/fs/cgroup") / path.lstrip("/")


def _kib(value: str) -> int:
    return int(value.split(maxsplit=1)[0])


if __name__ == "__main__":
    main()
