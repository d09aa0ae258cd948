"""A model that fails is told the remedy of the cause: real pickles in the sandbox, and what the user reads of each."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import RUNTIMES
from predictd.domain.limits import MIB, Limits
from predictd.domain.runs import RunReport, RunRequest
from predictd.runtimes import BuiltRuntime, load
from predictd.sandbox import run

MODELS = Path(__file__).parent / "models_for_sandbox" / "causes.py"
LIMITS = Limits(seconds=60, memory_bytes=1024 * MIB, scratch_bytes=64 * MIB, processes=64, log_stop_bytes=4 * MIB)


@pytest.fixture(scope="module")
def built() -> BuiltRuntime:
    return next(one for one in load(RUNTIMES) if one.paths.version == "3.12")


@pytest.fixture(scope="module")
def folder(built: BuiltRuntime, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("causes")
    os.chmod(folder, 0o700)
    subprocess.run([built.executable, MODELS, folder], check=True)
    ids = pd.Index([f"n{number:015x}" for number in range(50)], name="id")
    live = pd.DataFrame({"era": "X", "feature_a": (np.arange(50) % 5).astype("int8")}, index=ids)
    live.to_parquet(folder / "live.parquet")
    return folder


def run_model(built: BuiltRuntime, folder: Path, name: str) -> RunReport:
    request = RunRequest(
        pickle=folder / f"{name}.pkl",
        live=folder / "live.parquet",
        benchmarks=None,
        runtime=built.paths,
        limits=LIMITS,
    )
    return run(request, on_log=lambda _: None)
