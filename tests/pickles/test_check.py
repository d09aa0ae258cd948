"""`predictd check` names what is wrong with a pickle without running it, and has nothing to say against a good one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import PREDICTD, RUNTIMES
from pickles import broken, good
from predictd.data.schema import BENCHMARKS, TARGETS, feature_names, feature_sets
from predictd.pickles.compatibility import certain_failures, choose_python, choose_target
from predictd.pickles.data_columns import read_columns
from predictd.pickles.formatting import Finding, Level
from predictd.pickles.inspection import Inspection, inspect_pickle
from predictd.pickles.runtime_target import Target, all_targets, target_of_built
from predictd.pickles.static_checks import DataColumns, check_inspected
from predictd.runtimes import BuiltRuntime, find_interpreters, load

HERE = Path(__file__).parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
CERTAIN = {
    "another_python", "class_of_an_own_module", "pickled_by_name", "torch_in_core", "gpu_tensor", "keyword_only",
    "three_arguments", "no_arguments", "joblib_file", "compressed_joblib_file", "gzip_file", "torch_file", "csv_file",
    "git_lfs_pointer", "empty_file", "truncated", "instance_without_call", "dict_of_models", "model_itself",
}  # fmt: skip


def built_runtimes() -> list[BuiltRuntime]:
    return [one for one in load(RUNTIMES) if "full" not in one.image_name]


@pytest.fixture(scope="module")
def runtime() -> BuiltRuntime:
    found = built_runtimes()
    if not found:
        pytest.skip("no runtime is built")
    return found[-1]


@pytest.fixture(scope="module")
def target(runtime: BuiltRuntime) -> Target:
    return target_of_built(runtime)


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a data version, as far as it is downloaded for a check."""
    folder = tmp_path_factory.mktemp("data") / "v5.3"
    folder.mkdir()
    (folder / "features.json").write_text(json.dumps({"feature_sets": feature_sets()}))
    columns = [*feature_names(), *TARGETS, "era", "data_type", "id"]
    pq.write_table(pa.table({name: pa.array([], pa.string()) for name in columns}), folder / "live.parquet")
    columns = [*BENCHMARKS, "era", "id"]
    pq.write_table(
        pa.table({name: pa.array([], pa.string()) for name in columns}), folder / "live_benchmark_models.parquet"
    )
    return folder


@pytest.fixture(scope="module")
def data(version: Path) -> DataColumns:
    return read_columns(version)


@pytest.fixture(scope="module")
def files(runtime: BuiltRuntime, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pickles of `broken.py` and `good.py`, made with the runtime's Python."""
    folder = tmp_path_factory.mktemp("pickles")
    environment = {**os.environ, "FEATURES": ",".join(feature_names()[:8])}
    for module in (broken, good):
        target = folder / module.__name__.rpartition(".")[2]
        subprocess.run([runtime.executable, module.__file__, target], check=True, env=environment, timeout=120)
    older = built_runtimes()[0] if len(built_runtimes()) > 1 else None
    if older is not None:
        subprocess.run([older.executable, good.__file__, folder, "function"], check=True, env=environment, timeout=60)
        (folder / "function.pkl").rename(folder / "broken" / "another_python.pkl")
    return folder


def unhappy(findings: list[Finding]) -> dict[str, Level]:
    return {one.code: one.level for one in findings if one.level is not Level.PASS}


@pytest.mark.parametrize("case", broken.BROKEN, ids=lambda case: case.name)
def test_the_cause_is_named_without_a_run(files: Path, target: Target, data: DataColumns, case: broken.Broken) -> None:
    path = files / "broken" / f"{case.name}.pkl"
    if not path.exists():
        pytest.skip("there is one built runtime only")
    inspection = inspect_pickle(path)
    found = check_inspected(inspection, target, data)
    assert case.check in unhappy(found) if case.check else unhappy(found) == {}, found
    assert all(one.fix for one in found if one.level is not Level.PASS)
    # What is certain is refused at registration; nothing else is.
    certain = [one.code for one in certain_failures(inspection, target)]
    assert bool(certain) == (case.name in CERTAIN), certain


@pytest.mark.parametrize("name", good.MAKERS)
def test_nothing_is_said_against_a_good_pickle(files: Path, target: Target, data: DataColumns, name: str) -> None:
    inspection = inspect_pickle(files / "good" / f"{name}.pkl")
    found = check_inspected(inspection, target, data)
    # A class that also trains may name the files of its training.
    expected = {"absolute_path": Level.WARN} if name == "instance_with_call" else {}
    assert unhappy(found) == expected, found
    assert certain_failures(inspection, target) == []
    assert inspection.signature.problem is None
    assert inspection.pythons in ((target.python,), ())


def inspected(files: Path, name: str) -> Inspection:
    return inspect_pickle(files / "good" / f"{name}.pkl")


def test_models_trees_and_features_are_counted(files: Path) -> None:
    eight = list(feature_names()[:8])
    boosted = inspected(files, "lightgbm")
    assert {model.kind: model.trees for model in boosted.models} == {
        "lightgbm.LGBMRegressor": None,
        "lightgbm.Booster": 5,
    }
    assert list(boosted.features) == eight
    forest = {model.kind: model.trees for model in inspected(files, "sklearn_pipeline").models}
    assert forest["sklearn.ExtraTreesRegressor"] == 5
    assert {"sklearn.Pipeline", "sklearn.Ridge", "sklearn.StandardScaler"} <= set(forest)
    assert {model.kind: model.trees for model in inspected(files, "xgboost").models}["xgboost.Booster"] == 5
    assert inspected(files, "module_by_value").by_value == ("my_features",)


SOURCE = """
import sys; sys.path.insert(0, sys.argv[1])
import cloudpickle
def ranked(values, power=2):
    return [one ** power for one in sorted(values) if one]
def predict(live_features, live_benchmark_models):
    try:
        return ranked(live_features[['era', 'x']]) or {k: v for k, v in zip('ab', (1, 2))}
    except KeyError as error:
        raise ValueError(f'{error!r}') from None
def downloads(live_features):
    import urllib.request
    import os.path as place
    from json import load as parse
    try:
        import fast
    except ImportError:
        fast = None
    era = live_features['era']
    with open('weights.json') as file:
        parse(file)
    urllib.request.urlopen(place.join('x', 'y'))
    return list(era)
def lists(live_features, live_benchmark_models):
    import numpy as np
    both = live_features['a'] * 2 + live_benchmark_models['b'].rank(pct=True, method='first')
    shown = [both, -both][0:1]
    live_features['c'] = shown
    return np.array(shown, dtype='f8', copy=True)
for function in (predict, downloads, lists):
    with open(f'{sys.argv[2]}/{function.__name__}.pkl', 'wb') as file:
        cloudpickle.dump(function, file)
"""


@pytest.mark.parametrize("python", PYTHONS)
def test_the_bytecode_of_every_python_is_understood(tmp_path: Path, python: str) -> None:
    """cloudpickle alone, so that every interpreter of this machine can do it."""
    interpreter = find_interpreters().get(python)
    if interpreter is None:
        pytest.skip(f"no Python {python}")
    import cloudpickle

    library = tmp_path / "library"
    library.mkdir()
    (library / "cloudpickle").symlink_to(Path(cloudpickle.__file__).parent)
    subprocess.run([interpreter, "-c", SOURCE, library, tmp_path], check=True, timeout=30)
    inspection = inspect_pickle(tmp_path / "predict.pkl")
    assert inspection.pythons == (python,)
    assert choose_python(inspection, PYTHONS) == python
    assert choose_python(inspection, set(PYTHONS) - {python}) is None
    chosen = choose_target(inspection, all_targets([]))
    assert chosen is not None
    assert chosen.python == python
    assert {function.name for function in inspection.functions} == {"predict", "ranked"}
    inspection = inspect_pickle(tmp_path / "downloads.pkl")
    (downloads,) = inspection.functions
    assert {"open", "json.load", "urllib.request.urlopen", "os.path.join"} <= set(downloads.chains)
    assert downloads.columns == (("live_features", "era"),)
    later = {one.module: one.guarded for one in inspection.imports if not one.at_load}
    assert later == {"urllib.request": False, "os.path": False, "json": False, "fast": True}
    assert inspection.signature.shown == "the function downloads(live_features)"
    returns = inspect_pickle(tmp_path / "lists.pkl").returns
    assert [(value.type, value.name) for value in returns or ()] == [("array", "numpy.array()")]


def test_a_pickle_that_needs_torch_gets_the_full_runtime(files: Path) -> None:
    chosen = choose_target(inspect_pickle(files / "broken" / "torch_in_core.pkl"), all_targets([]))
    assert chosen is not None
    assert chosen.image.endswith("_full")


def predictd(*arguments: "str | Path") -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PREDICTD_RUNTIMES_DIR": str(RUNTIMES), "COLUMNS": "120"}
    return subprocess.run(
        [PREDICTD, *arguments], check=False, capture_output=True, text=True, timeout=60, env=environment
    )


def test_the_commands_tell_a_person_and_a_program(files: Path, version: Path) -> None:
    right = predictd("check", files / "good" / "function.pkl", "--data", version)
    assert right.returncode == 0, right.stderr
    assert "The data version v5.3 has all 8 features that it uses." in right.stdout
    assert "No problems found in Python" in right.stderr
    wrong = predictd("check", files / "broken" / "gpu_tensor.pkl", "--json")
    assert wrong.returncode == 1
    report = json.loads(wrong.stdout)
    assert {one["code"] for one in report["findings"] if one["level"] == "fail"} >= {"gpu_tensor"}
    shown = predictd("inspect", files / "good" / "lightgbm.pkl")
    assert shown.returncode == 0, shown.stderr
    assert "lightgbm.Booster" in shown.stdout
    assert "5 trees" in shown.stdout
    assert json.loads(predictd("inspect", files / "good" / "lightgbm.pkl", "--json").stdout)["callable"] is True
    nothing = predictd("inspect", files / "broken" / "gzip_file.pkl")
    assert nothing.returncode == 1
    assert "The file is not a pickle: it is a gzip file." in nothing.stderr


def test_inspection_needs_none_of_the_packages_in_the_pickle() -> None:
    code = "import sys, predictd.pickles.static_checks; print({'pandas', 'sklearn', 'starlette'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"
