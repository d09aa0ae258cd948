"""What `predictd check` calls a failure fails in a real run; what may run, or cannot be told, it never calls one."""

import importlib.metadata
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from conftest import RUNTIMES
from pickles import broken, doubtful, good
from predictd.data import generate, plan_named
from predictd.data.mapped_cache import MappedCache
from predictd.domain.failures import ModelFailure
from predictd.domain.findings import Finding, Level
from predictd.domain.limits import MIB, Limits
from predictd.domain.runs import SandboxKind
from predictd.local_run import run_pickle
from predictd.pickles.data_columns import read_columns
from predictd.pickles.inspection import inspect_pickle
from predictd.pickles.runtime_target import Target, all_targets, target_of_built
from predictd.pickles.static_checks import DataColumns, check_inspected
from predictd.runtimes import BuiltRuntime, find_interpreters, load
from predictd.sandbox import ForkPool
from predictd.scoring import check_submission

LIMITS = Limits(seconds=30.0, memory_bytes=1024 * MIB)
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


class Bench:
    """The pickles of `broken`, `doubtful` and `good`, and a sandbox to run them in."""

    def __init__(self, folder: Path, runtime: BuiltRuntime, parents: ForkPool) -> None:
        self.data = folder / "v5.3"
        generate(self.data, plan_named("tiny"), lambda *_: None)
        columns: DataColumns = read_columns(self.data)
        self.columns = columns
        environment = {**os.environ, "FEATURES": ",".join(sorted(columns.features)[:8])}
        self.folder = folder
        for module in (broken, doubtful, good):
            place = folder / module.__name__.rpartition(".")[2]
            subprocess.run([runtime.executable, module.__file__, place], check=True, env=environment, timeout=120)
        self.runtime = runtime
        self._mapped = MappedCache(folder=folder / "mapped")
        self._parents = parents
        self._ids = pq.read_table(self.data / "live.parquet", columns=["id"])["id"].to_pylist()

    def findings(self, path: Path) -> list[Finding]:
        return check_inspected(inspect_pickle(path), target_of_built(self.runtime), self.columns)

    def failure(self, path: Path) -> str | None:
        """The code that the run of a pickle on live data, or the check of its predictions, fails with."""
        report = run_pickle(
            path,
            self.data / "live.parquet",
            self.data / "live_benchmark_models.parquet",
            self.runtime.paths,
            LIMITS,
            kind=SandboxKind.BUBBLEWRAP,
            on_log=lambda _: None,
            mapped=self._mapped,
            fork_pool=self._parents,
        )
        result = report.outcome()
        if not isinstance(result, ModelFailure):
            return getattr(check_submission(result, self._ids), "code", None)
        return result.code


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    built = [one for one in load(RUNTIMES) if "full" not in one.image_name]
    if not built:
        pytest.skip("no runtime is built; run scripts/prepare_tests.py")
    folder = tmp_path_factory.mktemp("certainty")
    parents = ForkPool(max_servers=2, folders=[folder])
    try:
        yield Bench(folder, built[-1], parents)
    finally:
        parents.close()


@pytest.mark.parametrize(
    "case", [one for one in broken.BROKEN if one.name in broken.MAKERS], ids=lambda case: case.name
)
def test_a_failure_that_is_found_for_certain_is_one_in_a_run(bench: Bench, case: broken.Broken) -> None:
    path = bench.folder / "broken" / f"{case.name}.pkl"
    failed = [finding.code for finding in bench.findings(path) if finding.level is Level.FAIL]
    code = bench.failure(path)
    assert code == case.run
    assert code is not None or not failed, failed


@pytest.mark.parametrize("name", doubtful.MAKERS)
def test_what_may_run_is_no_failure(bench: Bench, name: str) -> None:
    path = bench.folder / "doubtful" / f"{name}.pkl"
    assert bench.failure(path) is None
    findings = bench.findings(path)
    assert {one.code: one.level.value for one in findings if one.level is not Level.PASS} == doubtful.LEVELS[name]


def test_what_a_runtime_has_is_known_or_known_to_lack_or_unknown() -> None:
    known = all_targets([])[0]
    unknown = Target(name="Mine", image="mine", tag="mine", python=known.python, packages={}, complete=False)
    assert [one.has("sklearn.linear_model") for one in (known, unknown)] == [True, None]
    assert [one.has("a_module_of_mine") for one in (known, unknown)] == [False, None]
    assert [one.has("json") for one in (known, unknown)] == [True, True]
    # Which modules a package has, its lock does not say; an installed package of that version does.
    assert known.has_submodule("sklearn.no_such_module") is None
    own = replace(known, packages={"numpy": importlib.metadata.version("numpy")})
    assert own.has_submodule("numpy.linalg") is True
    assert own.has_submodule("numpy.linalg.no_such_module") is False
    [unsure] = [one for one in check_inspected(inspect_pickle(SUBMODULE), known) if one.topic == "imports"]
    assert (unsure.level, unsure.code) == (Level.WARN, "unknown_modules")
    assert unsure.sentence.startswith(f"Cannot tell whether {known.name} has sklearn.no_such_module")


SUBMODULE = b"\x80\x04\x8c\x16sklearn.no_such_module\x8c\x04name\x93."

FUNCTIONS = """
import sys; sys.path.insert(0, sys.argv[1])
import cloudpickle, pathlib

def import_error_fail(live_features):
    frame = live_features.copy()
    if len(frame) > 5 and frame.shape[1]:
        frame = frame * 2
    for _ in range(3):
        frame = frame + 1
    import torch
    return frame

def helper():
    while True:
        from torch import nn
        if nn:
            return nn

def import_error_fail_in_a_helper(live_features):
    with open("log.txt", "a") as file:
        print("log", file=file)
    value = helper()
    return live_features * value.number

def import_error_warn_in_a_loop(live_features):
    for name in live_features.columns[:0]:
        import torch
    return live_features

def import_error_warn_in_a_handler(live_features):
    try:
        return live_features.rank()
    except ValueError:
        import torch
        return torch.rank(live_features)
    finally:
        print("ranked")

def import_error_warn_nested(live_features):
    def inner():
        import torch
        return torch
    return live_features

def import_error_warn_in_a_condition(live_features):
    rank = (lambda: live_features) if len(live_features) else helper
    values = live_features if rank else helper()
    return values or helper()

def fine_with_a_guard(live_features):
    try:
        import torch
    except ImportError:
        pass
    return live_features

def reads_files_fail(live_features):
    weights = pathlib.Path("weights.csv").read_text()
    return live_features * float(weights)

def reads_files_fail_by_keywords(live_features):
    with open(file="weights.csv", mode="rb") as file:
        return live_features * float(file.read())

def reads_files_fail_behind_names(live_features):
    name = "weights.csv"
    file = open(name, "r", encoding="utf-8")
    try:
        return live_features * float(file.read())
    finally:
        file.close()

def reads_files_warn(live_features):
    name = "weights.csv" if len(live_features) else "other.csv"
    return live_features * float(open(name).read())

def fine_with_a_log(live_features):
    open("log.txt", mode="w").write("log")
    return live_features

def not_a_dataframe_fail(live_features):
    return live_features["era"]

def not_a_dataframe_fail_for_arithmetic(live_features):
    mean = live_features.mean(axis=1)
    return (mean - 0.5) * -2 + live_features["x"]

def not_a_dataframe_fail_for_a_list(live_features):
    return [1, 2, 3]

def not_a_dataframe_fail_for_nothing(live_features):
    live_features.rank()

async def not_a_dataframe_fail_for_async(live_features):
    return live_features

def not_a_dataframe_fail_for_yield(live_features):
    yield live_features

def not_a_dataframe_warn(live_features):
    if len(live_features):
        return live_features["era"]
    return live_features

def fine_with_a_frame(live_features):
    ranks = live_features[["x", "y"]].mean(axis=1).rank(pct=True)
    return ranks.to_frame("prediction")

def exception_fail(live_features):
    try:
        raise ValueError("no model yet")
    except ValueError as error:
        raise RuntimeError from error

names = [name for name in dir() if name.startswith(("import_", "reads_", "not_a_", "fine_", "exception_"))]
for name in names:
    with open(f"{sys.argv[2]}/{name}.pkl", "wb") as file:
        cloudpickle.dump(globals()[name], file)
"""


@pytest.mark.parametrize("python", PYTHONS)
def test_certainty_is_told_from_the_bytecode_of_every_python(tmp_path: Path, python: str) -> None:
    """The name of each function begins with the code and the level of the one thing to find in it."""
    interpreter = find_interpreters().get(python)
    if interpreter is None:
        pytest.skip(f"no Python {python}")
    import cloudpickle

    library = tmp_path / "library"
    library.mkdir()
    (library / "cloudpickle").symlink_to(Path(cloudpickle.__file__).parent)
    made = tmp_path / "made"
    made.mkdir()
    subprocess.run([interpreter, "-c", FUNCTIONS, library, made], check=True, timeout=30)
    target = next(one for one in all_targets([]) if one.python == python)
    wrong = {}
    for path in sorted(made.glob("*.pkl")):
        findings = check_inspected(inspect_pickle(path), target)
        found = [f"{finding.code}_{finding.level}" for finding in findings if finding.level is not Level.PASS]
        if not (found == [] if path.stem.startswith("fine") else len(found) == 1 and path.stem.startswith(found[0])):
            wrong[path.stem] = found
    assert len(list(made.glob("*.pkl"))) > 20
    assert wrong == {}
