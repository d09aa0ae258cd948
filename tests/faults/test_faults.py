"""Short campaigns of faults; `make faults` runs long ones."""

import os
import secrets
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest

from faults.campaign import run_campaign
from faults.kinds import FAULTS
from faults.plan import draw

SEED = int(os.environ.get("FAULTS_SEED") or secrets.randbelow(10**6))
RUNS = 14


@pytest.mark.slow
@pytest.mark.parametrize(
    "faults",
    [("server", "worker", "disk", "clock"), ("server", "postgresql", "s3", "network"), ("node",)],
    ids=",".join,
)
def test_whatever_strikes_every_run_ends_once_and_nothing_is_left_over(faults: Sequence[str]) -> None:
    missing = {name: reason for name in faults if (reason := FAULTS[name].missing())}
    for name, reason in missing.items():
        warnings.warn(f"{name} left out: {reason}", stacklevel=1)
    faults = [name for name in faults if name not in missing]
    if not faults:
        pytest.skip("; ".join(missing.values()))
    plan = draw(SEED, runs=RUNS, faults=faults, moments=1)
    arguments = f"--fault {','.join(faults)} --moments 1 --runs {RUNS} --seed {SEED}"
    print(f'make faults ARGS="{arguments}"')
    outcome = run_campaign(plan, keep=Path(tempfile.gettempdir()))
    told = [*outcome.struck, *outcome.findings, f'the same again: make faults ARGS="{arguments}"']
    assert not outcome.findings, "\n".join(told)
    assert len(outcome.struck) == len(plan.moments)
    assert outcome.runs >= RUNS
