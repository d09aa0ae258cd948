"""The Dockerfiles of `predictd run`: linted, equal to what the code says, and their steps work."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from conftest import ROOT, RUNTIMES
from image import Image
from predictd.data import generate, plan_named
from predictd.runtimes import SPECS, RuntimeSpec, build, default_spec, find_interpreters, inspect_interpreter
from predictd.runtimes.uv import uv_environment, uv_executable

sys.path.insert(0, str(ROOT / "scripts"))
from dockerfiles import FOLDER, dockerfile, name_of

WHEELS = ROOT / ".cache" / "docker" / "wheels"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


@pytest.fixture(params=SPECS.values(), ids=name_of)
def spec(request: pytest.FixtureRequest) -> RuntimeSpec:
    return request.param


def test_each_runtime_has_its_dockerfile(spec: RuntimeSpec) -> None:
    path = FOLDER / name_of(spec) / "Dockerfile"
    assert path.read_text() == dockerfile(spec), "run: python scripts/dockerfiles.py"


def test_a_linter_finds_nothing_in_it(spec: RuntimeSpec) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, FOLDER / name_of(spec) / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_images_have_the_locked_versions_of_what_the_command_needs() -> None:
    image = (FOLDER / "requirements.txt").read_text()
    whole = (ROOT / "requirements.lock").read_text()
    assert set(PIN.findall(image)) <= set(PIN.findall(whole)), "run: make locks"
    assert "--hash=sha256:" in image


# The steps


def why_not() -> str | None:
    """What this machine lacks for running the steps."""
    if os.geteuid() != 0:
        return "the steps install packages and make a user, which needs root"
    if not WHEELS.is_dir():
        return "scripts/prepare_tests.py fetched nothing for the image: /usr/bin/python3 has no venv, or is too old"
    for tool in ("bwrap", "apt-get", "setpriv"):
        if shutil.which(tool) is None:
            return f"there is no {tool}"
    installed = ["dpkg-query", "--show", "--showformat", "${db:Status-Abbrev} ", "gcc", "libgomp1", "python3-venv"]
    if subprocess.run(installed, capture_output=True, text=True, check=False).stdout.split() != ["ii"] * 3:
        return "gcc, libgomp1 and python3-venv are not all installed, and the steps may download nothing"
    python = default_spec().python
    dry = [uv_executable(), "pip", "sync", "--dry-run", "--offline", "--require-hashes", "--target", "/nonexistent"]
    lock = ROOT / "src" / "predictd" / "runtimes" / "locks" / f"core-py{python.replace('.', '')}.txt"
    command = [*dry, "--python", str(find_interpreters()[python]), str(lock)]
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=uv_environment())
    if told.returncode != 0 or "Would download" in told.stderr:
        return "uv's cache no longer has the runtime's packages"
    return None


@pytest.fixture
def image_folder(tmp_path: Path) -> Iterator[Path]:
    """For an image, which is too large to be kept after the test."""
    yield tmp_path / "image"
    shutil.rmtree(tmp_path / "image", ignore_errors=True)


@pytest.mark.slow
def test_its_steps_make_an_image_that_runs_a_model_as_an_ordinary_user(tmp_path: Path, image_folder: Path) -> None:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    spec = default_spec()
    interpreter = inspect_interpreter(find_interpreters()[spec.python])
    assert interpreter is not None
    work = tmp_path / "work"
    generate(work / "v5.3", plan_named("tiny"), lambda *_: None)
    runtime = build(spec, RUNTIMES, print)
    make = [str(runtime.executable), str(ROOT / "tests" / "make_pickles.py"), str(work), "good", "raises"]
    subprocess.run(make, check=True)
    os.chown(work, 1000, 1000)
    cache = subprocess.run([uv_executable(), "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    image = Image(
        root=image_folder,
        context=ROOT,
        interpreter=interpreter.prefix,
        mounts={"/mnt": str(work), "/srv": f"ro:{WHEELS}", "/media": cache},
        environment={
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": "/srv",
            "UV_OFFLINE": "1",
            "UV_CACHE_DIR": "/media",
            "UV_LINK_MODE": "copy",
        },
    )
    began = time.monotonic()
    image.build(FOLDER / name_of(spec) / "Dockerfile")
    print(f"built in {time.monotonic() - began:.0f} s")

    data = ("--dataset", "/mnt/v5.3/live.parquet", "--output_dir", "/mnt")
    done = image.run("--debug", "--model", "/mnt/good.pkl", *data)
    assert done.returncode == 0, done.stderr
    assert f"{spec.image_name}:{spec.tag} in /opt/runtimes/{spec.folder_name}" in done.stderr
    [path] = work.glob("live_predictions-*.csv")
    assert path.stat().st_uid == 1000
    live = pd.read_parquet(work / "v5.3" / "live.parquet", columns=["era"])
    assert list(pd.read_csv(path)["id"]) == list(live.index)

    done = image.run("--model", "/mnt/raises.pkl", *data)
    assert done.returncode == 1
    assert "(exception): The model raised KeyError: 'feature_that_was_renamed'" in done.stderr
