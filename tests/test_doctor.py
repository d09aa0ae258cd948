"""`predictd doctor` tells the truth about this machine, and what to do about it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import PREDICTD, ROOT
from predictd.sandbox.escapes import NAMES


def doctor(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [PREDICTD, "doctor", *arguments], env=os.environ | environment, capture_output=True, text=True, check=False
    )


def test_a_machine_that_isolates_is_told_by_what() -> None:
    done = doctor("--json")
    assert done.returncode == 0, done.stdout
    told = json.loads(done.stdout)
    assert told["ok"]
    assert told["blocked"] == list(NAMES)
    assert told["open"] == told["problems"] == []
    assert told["memory_is_limited"]
    assert told["separate_users"] == (os.geteuid() == 0)
    assert f"{len(NAMES)} of {len(NAMES)} escape attempts fail" in doctor().stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_without_rights_can_isolate_models_too() -> None:
    folders = dict.fromkeys(
        [ROOT / "src", Path(PREDICTD).parents[1], Path(sys.base_prefix), ROOT / "tests" / "hostile"]
    )
    become = [sys.executable, ROOT / "tests" / "hostile" / "ordinary.py", "60999", *folders, "--"]
    command = [*become, sys.executable, "-B", PREDICTD, "doctor", "--json"]
    done = subprocess.run(command, env=os.environ | {"HOME": "/"}, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    assert (told["problems"], told["memory"], told["memory_is_limited"]) == ([], "sampling", True)
    assert not told["separate_users"]


def test_a_machine_without_a_sandbox_is_told_how_to_get_one(tmp_path: Path) -> None:
    done = doctor(PATH=str(tmp_path))
    assert done.returncode == 1
    assert "apt-get install bubblewrap" in done.stdout
    assert "Untrusted models don't run on this machine" in done.stdout
    done = doctor("--sandbox", "podman", "--json", PATH=str(tmp_path))
    assert done.returncode == 1
    assert json.loads(done.stdout)["problems"] == ["podman is missing on this machine: apt-get install podman."]


def test_no_sandbox_at_all_is_nothing_to_try() -> None:
    done = doctor("--sandbox", "none")
    assert done.returncode == 2
    assert "does not isolate" in done.stderr
