"""Each way for a model to end has its own code, and none of them reaches out of the sandbox."""

import json
import os
import pickletools
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import RUNTIMES, SANDBOX
from predictd.domain.errors import PlatformError
from predictd.domain.failures import FAILURES
from predictd.domain.limits import GIB, MIB, Limits
from predictd.domain.runs import RunReport, RunRequest, RuntimePaths, SandboxKind
from predictd.pickles import inspect_pickle
from predictd.runner.calling_convention import count_arguments
from predictd.runner.channel import Channel
from predictd.runner.packages import RecordedVersions, is_same_release
from predictd.runner.version_scan import scan
from predictd.runtimes import find_interpreters, load
from predictd.sandbox import RunCancelledError, probe, run
from predictd.sandbox.cgroups import Cgroup, find_hierarchy
from predictd.sandbox.escapes import NAMES
from predictd.sandbox.memory_monitor import descendants
from predictd.sandbox.protocol import (
    REPORTABLE,
    STAGES,
    FrameError,
    FrameReader,
    PickleVersions,
    ReportedFailure,
    Result,
    ResultLimits,
    ResultTooLargeError,
    Stage,
    Tables,
)
from predictd.sandbox.resource_group import hierarchy
from predictd.sandbox.verdict import Evidence, judge

MODELS = Path(__file__).parent / "models_for_sandbox" / "models.py"
LIMITS = Limits(seconds=20, memory_bytes=512 * MIB, scratch_bytes=64 * MIB, processes=64, log_stop_bytes=4 * MIB)
SECRET = "a-secret-of-the-server-4711"


def interpreters() -> dict[str, Path]:
    """The Pythons of this machine that a runtime can have, by version, that of the default runtime first."""
    found = find_interpreters()
    return {version: found[version] for version in ("3.12", "3.13", "3.11", "3.10") if version in found}


@dataclass
class Workbench:
    """A runtime, its pickled models and live data."""

    runtime: RuntimePaths
    pickles: Path
    live: Path
    benchmarks: Path
    printed: list[bytes] = field(default_factory=list)

    def request(self, model: str, limits: Limits = LIMITS) -> RunRequest:
        return RunRequest(
            pickle=self.pickles / f"{model}.pkl",
            live=self.live,
            benchmarks=self.benchmarks,
            runtime=self.runtime,
            limits=limits,
        )

    def run(self, model: str, limits: Limits = LIMITS, **options: object) -> RunReport:
        self.printed.clear()
        return run(self.request(model, limits), on_log=self.printed.append, **options)  # type: ignore[arg-type]

    @property
    def log(self) -> str:
        return b"".join(self.printed).decode()


def build_runtime(version: str) -> RuntimePaths:
    """The packages that the runner needs, as scripts/prepare_tests.py installed them."""
    python, packages = interpreters()[version], SANDBOX / f"packages-{version}"
    assert packages.is_dir(), "run scripts/prepare_tests.py first (make test does)"
    return RuntimePaths(version=version, python=python, prefix=python.parent.parent, packages=packages)


def pickle_models(runtime: RuntimePaths, folder: Path, *names: str) -> None:
    """Write the models' pickles with the Python of `runtime`."""
    env = {"PYTHONPATH": str(runtime.packages), "LD_LIBRARY_PATH": str(runtime.prefix / "lib"), "LC_ALL": "C.UTF-8"}
    subprocess.run([runtime.python, MODELS, folder, *names], check=True, env=env)


@pytest.fixture(scope="session")
def workbench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    folder = tmp_path_factory.mktemp("sandbox")
    os.chmod(folder, 0o700)
    runtime = build_runtime(next(iter(interpreters())))
    ids = pd.Index([f"n{number:015x}" for number in range(2000)], name="id")
    live = pd.DataFrame({"era": "1200", "feature_a": np.arange(2000) % 5}, index=ids)
    live.to_parquet(folder / "live.parquet")
    pd.DataFrame({"era": "1200", "v5_model": 0.5}, index=ids).to_parquet(folder / "benchmarks.parquet")
    pickle_models(runtime, folder)
    whole = (folder / "good.pkl").read_bytes()
    (folder / "truncated.pkl").write_bytes(whole[: len(whole) // 2])
    (folder / "text.pkl").write_text("def predict(live): ...\n")
    (folder / "zipped.pkl").write_bytes(b"PK\x03\x04 and so on")
    (folder / "empty_file.pkl").write_bytes(b"")
    (folder / "forged_module.pkl").write_bytes(b"\x80\x04cno_such_module\nthing\n.")
    (folder / "older_numpy.pkl").write_bytes(b"\x80\x04cnumpy.of_another_time\nthing\n.")
    (folder / "older_pandas.pkl").write_bytes(b"\x80\x04cpandas\nInt64IndexOfAnotherTime\n.")
    return Workbench(
        runtime=runtime, pickles=folder, live=folder / "live.parquet", benchmarks=folder / "benchmarks.parquet"
    )


# How models end


@pytest.mark.parametrize(
    "model",
    ["good", "good_with_two", "good_with_defaults", "Callable", "workers", "spawns", "forks_and_both_answer", "daemon"],
)
def test_good_model_answers(workbench: Workbench, model: str) -> None:
    report = workbench.run(model)
    assert report.failure is None
    assert report.predictions is not None
    live = pd.read_parquet(workbench.live)
    scale = 0.5 if model == "Callable" else 1.0
    assert report.predictions.ids == list(live.index)
    assert report.predictions.values.tolist() == ((live["feature_a"] + 1) / 6 * scale).tolist()
    assert tuple(report.stages) == STAGES
    assert 10 * MIB < report.peak_memory_bytes < LIMITS.memory_bytes


@pytest.mark.parametrize(
    ("model", "code", "says"),
    [
        ("text", "not_a_pickle", "def predict"),
        ("zipped", "not_a_pickle", "zip file"),
        ("empty_file", "not_a_pickle", "it is empty"),
        ("truncated", "truncated_pickle", "ends in the middle"),
        ("forged_module", "import_error", "no_such_module"),
        ("missing_module", "import_error", "tensorflow_of_somebody"),
        ("not_callable", "not_callable", "type dict"),
        ("three", "bad_signature", "3 (live, benchmarks, third)"),
        ("keyword_only", "bad_signature", "takes 2 (live, *, seed), of which seed can't be passed by position."),
        ("keyword_default", "bad_signature", "2 (live, *, scale=...), of which scale=... can't be passed by position."),
        ("keywords", "bad_signature", "2 (live, **options), of which **options can't be passed by position."),
        ("two_defaults", "bad_signature", "takes 3 (live, proportion=..., verbose=...)."),
        ("no_parameters", "bad_signature", "takes none."),
        ("wraps_three", "bad_signature", "takes 3 (live, proportion=..., verbose=...)."),
        ("method_of_three", "bad_signature", "takes 3 (live, benchmarks, third)."),
        ("partial_by_name", "bad_signature", "2 (live, *, proportion=...), of which proportion=... can't be passed"),
        ("of_no_signature", "bad_signature", "parameters that inspect.signature can't determine."),
        ("series", "not_a_dataframe", "Series"),
        ("nothing", "not_a_dataframe", "None"),
        ("text_column", "not_numeric", "'high'"),
        ("empty", "empty_predictions", "0 rows"),
        ("raises", "exception", "TypeError: no such feature: feature_zz"),
        ("inet", "network_access", "Address family not supported"),
        ("resolves", "network_access", "URLError"),
        ("leaves", "exited", "exit code 3"),
        ("leaves_at_once", "exited", "exit code 0"),
        ("segfault", "segfault", "Segmentation fault! Ensure python and library versions match our environment."),
        ("aborts", "killed", "6 (SIGABRT)"),
        ("x32_call", "killed", "system call"),
        ("fork_bomb", "exception", "Resource temporarily unavailable"),
        ("fills_the_scratch", "exception", ""),
        ("floods", "output_too_large", "4 MiB of log"),
        ("hungry", "out_of_memory", "512 MiB; its peak was 512 MiB."),
        ("asks_for_too_much", "out_of_memory", "when it asked for more (Unable to allocate 1.00 EiB"),
        ("older_numpy", "package_mismatch", "another version of numpy, but the runtime has numpy 2"),
        ("older_pandas", "package_mismatch", "another version of pandas, but the runtime has pandas"),
        ("hungry_child", "out_of_memory", "512 MiB"),
        ("garbage", "bad_output", "unknown type"),
        ("forged_failure", "bad_output", "that a runner can't report"),
        ("forged_platform", "bad_output", "after the model started"),
        ("forged_length", "output_too_large", "256 MiB"),
        ("ends_in_a_frame", "bad_output", "middle of a frame"),
        ("closes_everything", "bad_output", "closed the pipe"),
    ],
)
def test_failing_model_gets_its_code(workbench: Workbench, model: str, code: str, says: str) -> None:
    report = workbench.run(model)
    assert report.predictions is None
    assert report.failure is not None
    assert (report.failure.code, workbench.log[-500:]) == (code, workbench.log[-500:])
    assert says in report.failure.describe()
    assert FAILURES[code].remedy_of(report.failure.cause).split("{")[0] in report.failure.describe()


COUNTED = {
    "says_how_many": 1, "any_and_keywords": 2, "one_and_any": 2, "second_default": 2, "wraps_one": 1, "wraps_two": 2,
    "Counts": 1, "method": 2, "partial_by_position": 1,
}  # fmt: skip


@pytest.mark.parametrize("model", COUNTED)
def test_model_gets_as_many_arguments_as_it_has_parameters(workbench: Workbench, model: str) -> None:
    report = workbench.run(model)
    assert report.failure is None
    assert f"{COUNTED[model]} arguments" in workbench.log
    warning = "Warning: The second parameter, proportion, gets the live benchmark models instead of its default."
    assert (warning in workbench.log) == (model == "second_default")


@pytest.mark.parametrize(
    "model", [*COUNTED, "three", "keyword_only", "keyword_default", "keywords", "two_defaults", "no_parameters",
              "wraps_three", "method_of_three", "partial_by_name"]
)  # fmt: skip
def test_bytes_of_a_pickle_tell_the_same_parameters_as_a_run(workbench: Workbench, model: str) -> None:
    signature = inspect_pickle(workbench.pickles / f"{model}.pkl").signature
    assert signature.parameters is not None
    if model in COUNTED:
        assert count_arguments(signature.parameters) == COUNTED[model]
    else:
        failure = workbench.run(model).failure
        assert failure is not None
        assert failure.facts["detail"] == signature.problem


def test_endless_model_times_out_in_its_stage(workbench: Workbench) -> None:
    report = workbench.run("loops", replace(LIMITS, seconds=1.5))
    assert report.failure is not None
    assert report.failure.code == "timeout"
    assert (report.failure.facts["limit"], report.failure.facts["stage"]) == ("1.5 seconds", "predict")
    taken = r"\(import \d\.\d s, unpickle 0\.\d s, read 0\.\d s, predict 1\.\d s\)"
    assert re.search(taken, report.failure.describe())
    assert workbench.log == "looping\n"


def test_default_memory_limit_stops_eight_gigabytes(workbench: Workbench) -> None:
    report = workbench.run("hungry", Limits(seconds=60))
    assert report.failure is not None
    assert report.failure.code == "out_of_memory"
    assert "4096 MiB" in report.failure.describe()
    assert 3 * GIB < report.peak_memory_bytes < 6 * GIB


def test_prints_arrive_in_order(workbench: Workbench) -> None:
    workbench.run("prints")
    assert workbench.log == "to stdout: ü\nto stderr\n"


def test_traceback_begins_with_the_users_frames(workbench: Workbench) -> None:
    workbench.run("raises")
    assert "inner_function" in workbench.log
    assert workbench.log.splitlines()[-1] == "TypeError: no such feature: feature_zz"
    assert "predictd_runner" not in workbench.log
    assert str(workbench.runtime.packages) not in workbench.log


def test_several_eras_are_predicted_one_at_a_time(workbench: Workbench, tmp_path: Path) -> None:
    live = pd.read_parquet(workbench.live)
    live["era"] = np.where(np.arange(len(live)) % 3, "1200", "1201")
    live.to_parquet(tmp_path / "live.parquet")
    benchmarks = pd.DataFrame({"era": live["era"], "v5_model": np.linspace(0, 1, len(live))})[::-1]
    benchmarks.to_parquet(tmp_path / "benchmarks.parquet")
    two = replace(workbench, live=tmp_path / "live.parquet", benchmarks=tmp_path / "benchmarks.parquet")
    report = two.run("ranks_benchmarks")
    assert report.predictions is not None
    ranked = benchmarks["v5_model"].groupby(benchmarks["era"]).rank(pct=True)
    answer = pd.Series(report.predictions.values, index=report.predictions.ids)
    pd.testing.assert_series_equal(answer, ranked.loc[answer.index], check_names=False)
    assert workbench.log.splitlines() == ["one era of 1333 rows", "one era of 667 rows"]


def other_pythons() -> list[str]:
    return list(interpreters())[1:]


@pytest.mark.parametrize("version", other_pythons())
def test_pickle_of_another_python_is_told_apart(workbench: Workbench, tmp_path: Path, version: str) -> None:
    runtime = build_runtime(version)
    pickle_models(runtime, tmp_path, "raises")
    with (tmp_path / "raises.pkl").open("rb") as file:
        assert version in scan(file, 3).pythons
        assert workbench.runtime.version not in scan(file, 3).pythons
    report = replace(workbench, pickles=tmp_path).run("raises")
    assert report.failure is not None
    assert report.failure.code == "python_mismatch"
    assert version in report.failure.facts["pickle_python"].split(" or ")
    assert report.failure.facts["runtime_python"] == workbench.runtime.version


def test_runner_runs_on_every_python(workbench: Workbench, tmp_path: Path) -> None:
    for version in other_pythons():
        runtime = build_runtime(version)
        pickle_models(runtime, tmp_path, "good")
        report = replace(workbench, runtime=runtime, pickles=tmp_path).run("good")
        assert (version, report.failure) == (version, None)


_OLD_SCIKIT_LEARN = """
import sys, numpy, cloudpickle, pickle
from sklearn.linear_model import Ridge
model = Ridge().fit(numpy.eye(3), numpy.ones(3))
del model.coef_  # as an estimator of a version that had another name for it
state = model.__getstate__() | {"_sklearn_version": "0.24.2"}
class Old(Ridge):
    def __getstate__(self): return state
    def __reduce__(self): return (Ridge, (), state)
old = Old()
def predict(live): return old.predict(live[["feature_a"]].to_numpy().repeat(3, axis=1))
cloudpickle.dump(predict, open(sys.argv[1], "wb"))
"""


def test_estimator_of_another_scikit_learn_names_both_versions(workbench: Workbench, tmp_path: Path) -> None:
    built = next(one for one in load(RUNTIMES) if one.paths.version == workbench.runtime.version)
    subprocess.run([built.executable, "-c", _OLD_SCIKIT_LEARN, tmp_path / "old.pkl"], check=True)
    report = replace(workbench, runtime=built.paths, pickles=tmp_path).run("old")
    assert report.failure is not None
    assert report.failure.code == "package_mismatch"
    assert report.failure.facts["made_with"] == "scikit-learn 0.24.2"
    assert "the runtime has scikit-learn 1." in report.failure.describe()
    assert "'Ridge' object has no attribute 'coef_'" in report.failure.describe()


def test_models_of_boosted_trees_record_their_version(tmp_path: Path) -> None:
    built = load(RUNTIMES)[-1]
    make = (
        "import sys, numpy, pickle, xgboost, catboost; x = numpy.eye(8); y = numpy.arange(8.0)\n"
        "models = [xgboost.XGBRegressor(n_estimators=2).fit(x, y),\n"
        "    catboost.CatBoostRegressor(iterations=2, verbose=0, allow_writing_files=False).fit(x, y)]\n"
        "pickle.dump(models, open(sys.argv[1], 'wb')); print(xgboost.__version__, catboost.__version__)"
    )
    command = [built.executable, "-c", make, tmp_path / "models.pkl"]
    versions = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    recorded = RecordedVersions()
    for _, arg, _ in pickletools.genops((tmp_path / "models.pkl").read_bytes()):
        recorded.scan(arg)
    assert [recorded.versions["xgboost"], recorded.versions["catboost"]] == versions


_OLD_LIGHTGBM = """
import sys, numpy, cloudpickle, lightgbm
model = lightgbm.LGBMRegressor(n_estimators=2, verbose=-1).fit(numpy.arange(80.0).reshape(40, 2), numpy.arange(40.0))
del model._n_classes  # as a model of a version that had another name for it
def predict(live): return model.predict(live[["feature_a", "feature_a"]].to_numpy())
content = cloudpickle.dumps(predict)
assert content.count(b"tree\\nversion=v4\\n") == 1
open(sys.argv[1], "wb").write(content.replace(b"tree\\nversion=v4\\n", b"tree\\nversion=v3\\n"))
"""


def test_model_of_another_lightgbm_names_both_versions(workbench: Workbench, tmp_path: Path) -> None:
    built = next(one for one in load(RUNTIMES) if one.paths.version == workbench.runtime.version)
    subprocess.run([built.executable, "-c", _OLD_LIGHTGBM, tmp_path / "old.pkl"], check=True)
    report = replace(workbench, runtime=built.paths, pickles=tmp_path).run("old")
    assert report.failure is not None
    assert report.failure.code == "package_mismatch"
    assert report.failure.facts["made_with"] == "lightgbm 3 or older"
    assert "the runtime has lightgbm 4." in report.failure.describe()


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_tables_record_the_pandas_that_made_them(tmp_path: Path, protocol: int) -> None:
    make = (
        "import sys, pickle, pandas; table = pandas.DataFrame({'era': ['1', '2'], 'x': [1.0, 2.0]})\n"
        "pickle.dump([table, table['x']], open(sys.argv[1], 'wb'), int(sys.argv[2])); print(pandas.__version__)"
    )
    for version in interpreters():
        runtime = build_runtime(version)
        env = {"PYTHONPATH": str(runtime.packages), "LD_LIBRARY_PATH": str(runtime.prefix / "lib")}
        command = [runtime.python, "-c", make, tmp_path / "tables.pkl", str(protocol)]
        pandas = subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout.strip()
        recorded = RecordedVersions()
        for _, arg, _ in pickletools.genops((tmp_path / "tables.pkl").read_bytes()):
            recorded.scan(arg)
        assert is_same_release(recorded.versions["pandas"], pandas)


# What a model can't reach


def test_nothing_leads_out_of_the_sandbox(workbench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTD_TEST_SECRET", SECRET)
    for path in (workbench.live, workbench.benchmarks):
        path.chmod(0o666)
    report = workbench.run("escapes")
    assert report.failure is None
    attempts = [line for line in workbench.log.splitlines() if line.startswith(("open ", "shut "))]
    assert len(attempts) == 28
    assert [line for line in attempts if line.startswith("open ")] == []
    assert "environment " in workbench.log
    assert SECRET not in workbench.log
    assert str(workbench.pickles) not in workbench.log


def running(marker: bytes) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_daemon_dies_with_the_run(workbench: Workbench) -> None:
    for _ in range(3):
        assert workbench.run("daemon").failure is None
        assert running(b"98765.4321") == []


def test_no_group_and_no_descriptor_is_left(workbench: Workbench) -> None:
    workbench.run("good")
    before = sorted(os.listdir("/proc/self/fd"))
    workbench.run("leaves_at_once")
    with pytest.raises(PlatformError):
        run(replace(workbench.request("good"), live=Path("/nowhere")), on_log=print)
    assert sorted(os.listdir("/proc/self/fd")) == before
    found = hierarchy()
    for folder in found.folders.values() if found else ():
        assert list(folder.glob(f"predictd-{os.getpid()}-*")) == []


def test_run_dies_with_the_server(workbench: Workbench, tmp_path: Path) -> None:
    request = workbench.request("loops")
    server = tmp_path / "server.py"
    server.write_text(
        "import sys\nfrom pathlib import Path, PosixPath\nfrom predictd.sandbox import run\n"
        "from predictd.domain.runs import *\nfrom predictd.domain.limits import Limits\n"
        f"run({request!r}, on_log=lambda data: print('printed', flush=True))\n"
    )
    process = subprocess.Popen([sys.executable, server], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"printed\n"
    children = descendants(process.pid)[1:]
    assert len(children) >= 3
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(Path(f"/proc/{pid}/exe").exists() and is_alive(pid) for pid in children))


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# What is the platform's fault, and what is nobody's


def test_cancelled_run_ends_at_once(workbench: Workbench) -> None:
    cancel = threading.Event()
    started = threading.Event()

    def seen(_: bytes) -> None:
        cancel.set()

    begin = time.monotonic()
    with pytest.raises(RunCancelledError):
        run(workbench.request("loops"), on_log=seen, on_started=started.set, cancel=cancel)
    assert started.is_set()
    assert time.monotonic() - begin < 10


def test_broken_platform_is_never_the_models_fault(workbench: Workbench, tmp_path: Path) -> None:
    request = workbench.request("good")
    (tmp_path / "live.parquet").write_text("no parquet")
    (tmp_path / "packages").mkdir()
    for change in (
        {"pickle": tmp_path / "gone.pkl"},
        {"live": tmp_path / "live.parquet"},
        {"runtime": replace(request.runtime, python=tmp_path / "python")},
        {"runtime": replace(request.runtime, packages=tmp_path / "packages")},
        {"limits": replace(LIMITS, memory_bytes=24 * MIB)},
    ):
        with pytest.raises(PlatformError) as caught:
            run(replace(request, **change), on_log=print)  # type: ignore[arg-type]
        assert str(tmp_path) not in caught.value.message


def test_this_machine_can_isolate() -> None:
    isolation = probe()
    assert isolation.is_available
    assert isolation.version is not None
    assert isolation.separate_users == (os.geteuid() == 0)
    assert isolation.memory_is_limited
    assert isolation.blocked == NAMES


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("good_with_two", None),
        ("raises", "exception"),
        ("segfault", "segfault"),
        ("leaves_at_once", "exited"),
        ("hungry", "out_of_memory"),
        ("loops", "timeout"),
        ("daemon", None),
    ],
)
def test_without_isolation_the_ends_are_the_same(workbench: Workbench, model: str, code: str | None) -> None:
    report = workbench.run(model, replace(LIMITS, seconds=3), kind=SandboxKind.NONE)
    assert (report.failure.code if report.failure else None) == code
    assert running(b"98765.4321") == []


# Frames


class _Pipe:
    """A channel of the runner with the bytes that it wrote."""

    def __init__(self) -> None:
        self._read, write = os.pipe()
        os.set_blocking(self._read, False)
        self.channel = Channel(write)

    def bytes(self) -> bytes:
        written = b""
        while True:
            try:
                written += os.read(self._read, 1 << 16)
            except BlockingIOError:
                break
        os.close(self._read)
        os.close(self.channel._descriptor)
        return written


def _answer(ids: list[str], values: list[float], tables: bytes = b"") -> bytes:
    pipe = _Pipe()
    for stage in STAGES:
        pipe.channel.stage(stage)
    if tables:
        pipe.channel.tables(tables)
    pipe.channel.result(ids, np.array(values, dtype="<f8").tobytes())
    return pipe.bytes()


def _most(output_bytes: int) -> ResultLimits:
    return ResultLimits(expected=100, output_bytes=output_bytes)


def _feed(data: bytes, seed: int, most: int = 1 << 20) -> list[object]:
    reader, chance, frames = FrameReader(_most(most)), random.Random(seed), []
    while data:
        size = chance.randint(1, max(1, len(data)))
        frames += reader.feed(data[:size])
        data = data[size:]
    return frames


@given(
    rows=st.lists(st.tuples(st.text(max_size=20), st.floats(allow_nan=False)), max_size=50),
    tables=st.binary(min_size=1, max_size=300),
    seed=st.integers(),
)
def test_result_arrives_as_it_was_sent(rows: list[tuple[str, float]], tables: bytes, seed: int) -> None:
    ids, values = [row[0] for row in rows], [row[1] for row in rows]
    *stages, arrived, result = _feed(_answer(ids, values, tables), seed)
    assert stages == [Stage(name=name) for name in STAGES]
    assert isinstance(arrived, Tables)
    with arrived.file as file:
        assert Path(file.name).read_bytes() == tables
    assert isinstance(result, Result)
    assert result.predictions.ids == ids
    assert result.predictions.values.tolist() == values


@given(data=st.binary(max_size=300), seed=st.integers(), prefix=st.integers(0, 400))
def test_garbage_is_never_more_than_a_bad_frame(data: bytes, seed: int, prefix: int) -> None:
    good = _answer(["one", "two", "dreizehn"], [0.1, 0.2, 0.3])
    with suppress(FrameError, ResultTooLargeError):
        _feed(good[:prefix] + data + good[prefix + len(data) :], seed)


def _json_frame(kind: bytes, content: object) -> bytes:
    payload = json.dumps(content).encode()
    return kind + len(payload).to_bytes(4, "big") + payload


_UNPICKLING = _json_frame(b"S", {"stage": "import"}) + _json_frame(b"S", {"stage": "unpickle"})


@pytest.mark.parametrize(
    "data",
    [
        _json_frame(b"S", {"stage": "predict"}),
        _json_frame(b"X", {}),
        _UNPICKLING + _json_frame(b"P", {"detail": "retry me"}),
        _UNPICKLING + _json_frame(b"F", {"code": "timeout", "detail": ""}),
        _UNPICKLING + _json_frame(b"F", {"code": ["exception"], "detail": ""}),
        _UNPICKLING + _json_frame(b"F", {"code": "exception"}),
        _UNPICKLING + _json_frame(b"F", {"code": "exception", "detail": ""}) * 2,
        _UNPICKLING + _json_frame(b"V", {"pythons": ["3.12; rm -rf"], "packages": {}}),
        _UNPICKLING + _json_frame(b"V", {"pythons": ["3.12"], "packages": {}}) * 100,
        _UNPICKLING + _json_frame(b"V", {"pythons": ["3.12"], "packages": {"numpy": ["1"]}}),
        _UNPICKLING + _json_frame(b"F", {"code": "exception", "detail": "", "packages": {"numpy": 2}}),
        _UNPICKLING + b"R\x00\x00\x00\x04\x00\x00\x00\x00",
        _UNPICKLING + b"S\x00\x02\x00\x00",
        _UNPICKLING + b"S\x00\x00\x27\x10" + b"[" * 10_000,
    ],
)
def test_frame_out_of_turn_is_bad(data: bytes) -> None:
    with pytest.raises(FrameError):
        list(FrameReader(_most(1 << 20)).feed(data))


def test_what_came_before_a_bad_frame_counts() -> None:
    seen: list[object] = []
    with pytest.raises(FrameError):
        seen.extend(FrameReader(_most(1 << 20)).feed(_UNPICKLING + _json_frame(b"X", {})))
    assert seen == [Stage(name="import"), Stage(name="unpickle")]


def test_result_of_more_rows_than_expected_is_refused_before_it_arrives() -> None:
    most = ResultLimits(expected=2000, output_bytes=1 << 28)
    assert most.result_bytes < 4 << 20
    stages = b"".join(_json_frame(b"S", {"stage": name}) for name in STAGES)
    reader = FrameReader(most)
    for length, rows in ((most.result_bytes + 1, 1), (1000, most.rows + 1)):
        with pytest.raises(ResultTooLargeError, match="predictions for data of 2000 rows"):
            list(FrameReader(most).feed(stages + b"R" + length.to_bytes(4, "big") + rows.to_bytes(4, "big")))
    twice = ["id"] * 4000
    *_, result = reader.feed(_answer(twice, [0.5] * 4000))
    assert isinstance(result, Result)
    assert result.predictions.ids == twice


def test_result_over_the_limit_is_too_large() -> None:
    with pytest.raises(ResultTooLargeError):
        _feed(_answer(["id"] * 100, [0.5] * 100), 1, most=1000)


def test_runner_may_report_only_known_failures() -> None:
    assert FAILURES.keys() >= REPORTABLE


# Evidence


def test_proof_of_memory_outweighs_what_the_model_raised() -> None:
    raised = ReportedFailure(code="exception", detail="BrokenProcessPool")
    report = judge(Evidence(stage="predict", reported=raised, out_of_memory=True), LIMITS, "3.12")
    assert report.failure is not None
    assert report.failure.code == "out_of_memory"


def made_by(*pythons: str, **packages: tuple[str, str]) -> PickleVersions:
    return PickleVersions(pythons=pythons, packages=packages)


def test_segfault_of_another_package_names_both_versions() -> None:
    seen = Evidence(stage="predict", exit_code=139, versions=made_by("3.12", xgboost=("1.7.6", "3.4.1")))
    failure = judge(seen, LIMITS, "3.12").failure
    assert failure is not None
    assert failure.code == "package_mismatch"
    assert "made with xgboost 1.7.6, but the runtime has xgboost 3.4.1: Segmentation fault!" in failure.describe()


def test_another_package_is_blamed_only_for_what_its_code_raised() -> None:
    versions = made_by("3.12", xgboost=("1.7.6", "3.4.1"))
    in_xgboost = {"xgboost": "3.4.1"}
    for detail, packages, code in (
        ("AttributeError: 'gpu_id'", {}, "exception"),
        ("AttributeError: 'gpu_id'", {"pandas": "3.0"}, "exception"),
        ("ValueError: feature names must be unique", in_xgboost, "exception"),
        ("AttributeError: 'gpu_id'", in_xgboost, "package_mismatch"),
    ):
        raised = ReportedFailure(code="exception", detail=detail, packages=packages)
        failure = judge(Evidence(stage="predict", reported=raised, versions=versions), LIMITS, "3.12").failure
        assert failure is not None
        assert failure.code == code


def test_success_tells_the_share_of_the_limits() -> None:
    stages = {"import": 2.0, "unpickle": 1.0, "read": 0.5, "predict": 298.5, "write": 0.0}
    report = RunReport(stages=stages, peak_memory_bytes=1 * GIB)
    assert report.use(Limits()).describe() == (
        "The model used 300.0 of 600 s (50 %) and 1024 of 4096 MiB of memory (25 %): "
        "import 2.0 s, unpickle 1.0 s, read 0.5 s, predict 298.5 s, write 0.0 s."
    )


def test_segfault_of_another_python_keeps_the_known_sentence() -> None:
    seen = Evidence(stage="predict", exit_code=139, versions=made_by("3.10", "3.11"))
    failure = judge(seen, LIMITS, "3.12").failure
    assert failure is not None
    assert failure.code == "python_mismatch"
    assert "Segmentation fault! Ensure python and library versions match our environment." in failure.describe()
    assert "Python 3.10 or 3.11" in failure.describe()


def test_missing_module_stays_a_missing_module_whatever_the_python() -> None:
    missing = ReportedFailure(code="import_error", detail="torch")
    failure = judge(Evidence(stage="predict", reported=missing, versions=made_by("3.10")), LIMITS, "3.12").failure
    assert failure is not None
    assert failure.code == "import_error"


def test_known_cause_is_not_blamed_on_the_version_of_a_package() -> None:
    facts = {"old": "DataFrame.append", "new": "pd.concat", "package": "pandas", "version": "3.1.1"}
    reported = ReportedFailure(
        code="exception",
        detail="AttributeError: 'DataFrame' object has no attribute 'append'",
        packages={"pandas": "3.1.1"},
        cause="removed_api",
        facts=facts,
    )
    versions = PickleVersions(pythons=("3.12",), packages={"pandas": ("2 or older", "3.1.1")})
    seen = Evidence(stage="predict", reported=reported, versions=versions)
    failure = judge(seen, LIMITS, "3.12").failure
    assert failure is not None
    assert failure.remedy == "Use pd.concat in place of DataFrame.append, which pandas 3.1.1 does not have."
    failure = judge(replace(seen, reported=replace(reported, cause=None, facts={})), LIMITS, "3.12").failure
    assert failure is not None
    assert failure.code == "package_mismatch"


# Control groups of machines that are not this one


def test_v2_group_is_written_read_and_removed(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "own" / "cgroup.subtree_control").write_text("")
    (tmp_path / "own" / "cgroup.procs").write_text("")
    found = find_hierarchy("0::/own\n", f"30 23 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw\n")
    assert found is not None
    assert found.version == "v2"
    assert (tmp_path / "own" / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    group = Cgroup(found, Limits(cpus=1.5, memory_bytes=GIB, processes=10))
    (folder,) = tmp_path.glob("own/predictd-*")
    assert group.member_files == [str(folder / "cgroup.procs")]
    assert (folder / "memory.max").read_text() == str(GIB)
    assert (folder / "cpu.max").exists() is False
    assert not group.ran_out_of_memory()
    (folder / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    (folder / "memory.peak").write_text("12345\n")
    assert group.ran_out_of_memory()
    assert group.peak_bytes() == 12345


def test_v2_controllers_are_not_taken_from_strangers(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("memory pids")
    (tmp_path / "cgroup.subtree_control").write_text("")
    (tmp_path / "cgroup.procs").write_text("1\n2\n")
    mounts = f"30 23 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw\n"
    assert find_hierarchy("0::/\n", mounts) is not None
    assert (tmp_path / "cgroup.procs").read_text() == "1\n2\n"
    assert not (tmp_path / "predictd").exists()


def test_v1_needs_memory_and_pids(tmp_path: Path) -> None:
    for name in ("memory", "pids"):
        (tmp_path / name / "own").mkdir(parents=True)
    mounts = "".join(
        f"3{i} 23 0:26 / {tmp_path / n} rw - cgroup cgroup rw,{n}\n" for i, n in enumerate(["memory", "pids"])
    )
    own = "2:pids:/own\n1:memory:/own\n0::/\n"
    found = find_hierarchy(own, mounts)
    assert found is not None
    assert found.folders == {"memory": tmp_path / "memory" / "own", "pids": tmp_path / "pids" / "own"}
    assert find_hierarchy(own, mounts.splitlines()[0]) is None
