"""Short campaigns of faults for the tests; `make faults` runs long ones."""

import os
import re
import subprocess
import sys
import warnings

import pytest

from conftest import ROOT
from faults.kinds import FAULTS

# The same each time, so that what fails is of the change at hand; `make faults` draws new ones.
SEED = int(os.environ.get("FAULTS_SEED") or 1)
RUNS = 14


def run_short_campaign(*names: str) -> None:
    """Each of the faults once, in few runs; AssertionError with all that the campaign told where it found something."""
    missing = {name: reason for name in names if (reason := FAULTS[name].missing())}
    for name, reason in missing.items():
        warnings.warn(f"{name} left out: {reason}", stacklevel=1)
    faults = [name for name in names if name not in missing]
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
