"""Models of XGBoost, CatBoost and scikit-learn answer the same by compiled trees, to the last bit, in every runtime.

Each library's models are asked inside a runtime, where `other_libraries_inside.py` says which cases there are.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RUNTIMES = {folder.name.rpartition("-")[0]: folder for folder in sorted((ROOT / ".cache/runtimes").glob("numerai_*-*"))}


@pytest.mark.parametrize("library", ["xgboost", "catboost", "sklearn"])
@pytest.mark.parametrize("runtime", ["numerai_predict_py_3_12", "numerai_predict_py_3_11"])
def test_compiled_trees_answer_what_the_library_answers(runtime: str, library: str) -> None:
    if runtime not in RUNTIMES:
        pytest.skip(f"no runtime {runtime} is built")
    command = [str(RUNTIMES[runtime] / "bin/python"), "-W", "ignore", str(HERE / "other_libraries_inside.py"), library]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "PREDICTD_TREES": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["found"] == []
    assert said["cases"] > 40
