"""`predictd env`: an environment that has what a runtime has, and what another one has otherwise."""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import PREDICTD, ROOT, RUNTIMES
from predictd.runtimes import RuntimeSpec, default_spec
from predictd.runtimes.requirements import Pin, pins
from predictd.runtimes.virtualenv import Difference, Environment, differences

Command = Callable[..., "subprocess.CompletedProcess[str]"]
IN_JUPYTER = """
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="numerai")
client.execute_interactive("import sys, lightgbm; print(sys.prefix, lightgbm.__version__)")
client.stop_channels()
manager.shutdown_kernel(now=True)
"""


def commands_in(folder: Path) -> Command:
    """Runs commands in a folder; nothing is downloaded, because scripts/prepare_tests.py did that."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREDICTD_", "VIRTUAL_ENV"))}
    mine = {"PREDICTD_RUNTIMES_DIR": str(RUNTIMES), "UV_OFFLINE": "1"}
    mine |= {"JUPYTER_DATA_DIR": str(folder / "jupyter"), "IPYTHONDIR": str(folder / "ipython")}

    def run(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=folder,
            env=kept | mine | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Command]:
    """A folder with an environment `mine` of the default runtime, and the way to run commands in it."""
    folder = tmp_path_factory.mktemp("environments")
    run = commands_in(folder)
    done = run(PREDICTD, "env", "create", "mine", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["python"] == str(folder / "mine" / "bin" / "python")
    return folder, run


def test_an_environment_has_the_runtime_s_versions_and_says_so(made: tuple[Path, Command]) -> None:
    folder, run = made
    spec = default_spec()
    code = "import sys, lightgbm, cloudpickle; print('%d.%d' % sys.version_info[:2], lightgbm.__version__)"
    answer = run(str(folder / "mine" / "bin" / "python"), "-c", code)
    assert answer.stdout.split() == [spec.python, version_of("lightgbm", spec)]
    checked = run(PREDICTD, "env", "check", "--python", "mine")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"matches {spec.display_name}" in checked.stderr
    active = run(PREDICTD, "env", "check", "--json", VIRTUAL_ENV=str(folder / "mine"))
    assert json.loads(active.stdout) == {
        "ok": True,
        "runtime": {"name": spec.display_name, "image": spec.image_name, "tag": spec.tag},
        "python": str(folder / "mine" / "bin" / "python"),
        "differences": [],
        "fix": None,
    }


def test_what_differs_is_named_and_the_command_that_is_told_mends_it(made: tuple[Path, Command]) -> None:
    folder, run = made
    [installed] = (folder / "mine").glob("lib/python3*/site-packages/joblib-*.dist-info")
    shutil.rmtree(installed)
    wrong = run(PREDICTD, "env", "check", "--python", "mine")
    assert wrong.returncode == 1
    assert [line.split() for line in wrong.stdout.splitlines()][1] == ["joblib", version_of("joblib"), "missing"]
    assert "1 difference between" in wrong.stderr
    fix = shlex.split(wrong.stderr.rpartition("Fix it: ")[2])
    path = f"{Path(PREDICTD).parent}{os.pathsep}{os.environ['PATH']}"
    mended = run("env", *fix, PATH=path)
    assert mended.returncode == 0, mended.stderr
    assert run(PREDICTD, "env", "check", "--python", "mine").returncode == 0


def test_another_python_takes_another_environment(made: tuple[Path, Command]) -> None:
    _, run = made
    other = "3.11" if default_spec().python != "3.11" else "3.12"
    wrong = run(PREDICTD, "env", "check", "--python", "mine", "--runtime", other, "--json")
    assert wrong.returncode == 1
    answer = json.loads(wrong.stdout)
    assert answer["differences"][0]["package"] == "python"
    assert answer["differences"][0]["runtime"] == other
    assert answer["fix"] == f"predictd env create --runtime {other}"


def test_a_folder_of_something_else_is_left_as_it_is(made: tuple[Path, Command]) -> None:
    folder, run = made
    again = run(PREDICTD, "env", "create", "mine")
    assert again.returncode == 0, "an environment that is there is found"
    assert "installing" not in again.stderr
    (folder / "work").mkdir()
    (folder / "work" / "notes.txt").write_text("mine")
    refused = run(PREDICTD, "env", "create", "work")
    assert refused.returncode == 1
    assert "is not empty and not an environment" in refused.stderr
    assert (folder / "work" / "notes.txt").read_text() == "mine"
    differing = run(PREDICTD, "env", "create", "mine", "--packages", "full")
    assert differing.returncode == 1
    assert "differences from" in differing.stderr


def test_what_can_not_be_had_leaves_no_folder(made: tuple[Path, Command]) -> None:
    folder, run = made
    failed = run(PREDICTD, "env", "create", "broken", UV_CACHE_DIR=str(folder / "empty"))
    assert failed.returncode == 1
    assert "UV_OFFLINE" in failed.stderr
    assert not (folder / "broken").exists()


def test_a_jupyter_kernel_runs_in_it_and_changes_no_package(made: tuple[Path, Command]) -> None:
    folder, run = made
    assert (ROOT / ".cache" / "kernel").is_dir(), "run scripts/prepare_tests.py first (make test does)"
    done = run(PREDICTD, "env", "create", "mine", "--kernel", "numerai")
    assert done.returncode == 0, done.stderr
    assert "as on the server (numerai)" in done.stderr
    answer = run(str(folder / "mine" / "bin" / "python"), "-c", IN_JUPYTER)
    assert answer.stdout.split() == [str(folder / "mine"), version_of("lightgbm")], answer.stderr
    assert run(PREDICTD, "env", "check", "--python", "mine").returncode == 0
    wrong = run(PREDICTD, "env", "create", "mine", "--kernel", "a b")
    assert "The kernel name 'a b' is invalid" in wrong.stderr


def test_locks_are_read_line_by_line_and_conditions_are_not_held_against_an_environment() -> None:
    lock = (
        "--index-url https://example.org/simple\n"
        "Scikit_Learn==1.8.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n    # via someone\n"
        'colorama==0.4.6 ; sys_platform == "win32" --hash=sha256:cc\n'
        "torch==2.9.1 --hash=sha256:dd\n"
    )
    assert pins(lock) == [
        Pin(name="scikit-learn", version="1.8.0", is_conditional=False),
        Pin(name="colorama", version="0.4.6", is_conditional=True),
        Pin(name="torch", version="2.9.1", is_conditional=False),
    ]
    spec = RuntimeSpec(python="3.12", packages="mine", lock=lock)
    here = {"scikit-learn": "1.7.2", "torch": "2.9.1+cpu", "of-my-own": "1.0"}
    environment = Environment(python=Path("python"), release="3.12.9", packages=here)
    assert differences(environment, spec) == [Difference(package="scikit-learn", expected="1.8.0", installed="1.7.2")]


def version_of(package: str, spec: RuntimeSpec | None = None) -> str:
    return next(pin.version for pin in pins((spec or default_spec()).lock) if pin.name == package)
