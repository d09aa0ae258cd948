"""Short campaigns of faults; `make faults` runs long ones."""

import os
import re
import secrets
import subprocess
import sys
import warnings
from collections.abc import Sequence

import pytest

from conftest import ROOT
from faults.kinds import FAULTS

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
    # In a process of its own, because whatever is left of its children at the end is a finding.
    command = [sys.executable, "-m", "faults", "--fault", ",".join(faults), "--moments", "1", "--runs", str(RUNS)]
    done = subprocess.run(
        [*command, "--seed", str(SEED)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    told = re.search(r"(\d+) runs in \d+ attempts and \d+ s, (\d+) faults", done.stdout)
    assert told is not None, done.stdout
    assert int(told[1]) >= RUNS
    assert int(told[2]) == len(faults), done.stdout
