"""LightGBM's models answer the same by compiled trees, to the last bit, in every runtime, and stay what they are.

The cases are those of `lightgbm_inside.py`, which runs inside each runtime.
"""

import ast
import functools
import json
import os
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RUNTIMES = {folder.name.rpartition("-")[0]: folder for folder in sorted((ROOT / ".cache/runtimes").glob("numerai_*-*"))}
INSIDE = HERE / "lightgbm_inside.py"
CASES = [
    found.name
    for found in ast.parse(INSIDE.read_text()).body
    if isinstance(found, ast.FunctionDef) and found.name.startswith("case_")
]


def run(runtime: str, *command: str) -> str:
    if runtime not in RUNTIMES:
        pytest.skip(f"no runtime {runtime} is built")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    environment.pop("PREDICTD_TREES", None)
    done = subprocess.run(
        [str(RUNTIMES[runtime] / "bin/python"), *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def results(runtime: str) -> dict[str, str]:
    return json.loads(run(runtime, "-W", "ignore", str(INSIDE)).splitlines()[-1])


@pytest.mark.parametrize("runtime", ["numerai_predict_py_3_12", "numerai_predict_py_3_11"])
@pytest.mark.parametrize("case", CASES)
def test_lightgbm(case: str, runtime: str) -> None:
    failure = results(runtime)[case]
    assert failure == "", failure


def test_nothing_is_imported_before_the_model_does_it() -> None:
    code = (
        "import sys; from predictd import trees; assert trees.install()\n"
        "assert not {'lightgbm', 'xgboost', 'catboost', 'sklearn', 'pandas'} & set(sys.modules)\n"
        "import lightgbm; assert lightgbm.Booster.predict.__wrapped__\n"
        "trees.uninstall(); assert not hasattr(lightgbm.Booster.predict, '__wrapped__')\n"
        "assert not hasattr(lightgbm.Booster, '__getattr__')"
    )
    run("numerai_predict_py_3_12", "-c", code)


def test_it_can_be_turned_off_and_stand_alone(tmp_path: Path) -> None:
    (tmp_path / "predictd_trees").symlink_to(ROOT / "src/predictd/trees")
    code = (
        f"import os, sys; sys.path[:] = [{str(tmp_path)!r}, *(p for p in sys.path if not p.endswith('/src'))]\n"
        "import predictd_trees; os.environ['PREDICTD_TREES'] = '0'; assert not predictd_trees.install()\n"
        "import lightgbm; assert not hasattr(lightgbm.Booster.predict, '__wrapped__')\n"
        "del os.environ['PREDICTD_TREES']; assert predictd_trees.install()\n"
        "assert lightgbm.Booster.predict.__wrapped__; assert 'predictd' not in sys.modules"
    )
    run("numerai_predict_py_3_12", "-c", code)
