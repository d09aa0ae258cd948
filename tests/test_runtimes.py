"""Runtimes: which Pythons are found, and that what is built is complete, used again, and safe to interrupt."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from predictd.domain.errors import InvalidInputError, NotFoundError, SetupError
from predictd.runtimes import (
    FULL_SPECS,
    SPECS,
    BuiltRuntime,
    RuntimeSpec,
    build,
    custom_spec,
    default_spec,
    find_interpreters,
    load,
    remove,
    spec_for,
)
from predictd.runtimes.build import MARKER
from predictd.runtimes.folder_lock import FolderLock
from predictd.runtimes.requirements import parse_requirements

CUSTOM = Path(__file__).with_name("custom_runtime.txt")


@pytest.fixture(scope="module", autouse=True)
def nothing_is_downloaded() -> Iterator[None]:
    """What is built here was built before by scripts/prepare_tests.py, so uv has it in its cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UV_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def wanted() -> RuntimeSpec:
    return default_spec()


@pytest.fixture(scope="module")
def built(wanted: RuntimeSpec, tmp_path_factory: pytest.TempPathFactory) -> tuple[BuiltRuntime, list[str]]:
    """The default runtime, built for real, with what the build said."""
    lines: list[str] = []
    return build(wanted, tmp_path_factory.mktemp("runtimes"), lines.append), lines


@pytest.fixture(scope="module")
def small(wanted: RuntimeSpec) -> RuntimeSpec:
    """A runtime of two packages, built in a second or two."""
    return locked(wanted, "small", "cloudpickle", "joblib")


def pins(spec: RuntimeSpec) -> dict[str, str]:
    """Versions by package."""
    lines = [line.split() for line in spec.lock.splitlines() if line and not line.startswith((" ", "#"))]
    return dict(line[0].split("==") for line in lines)


def silent(line: str) -> None:
    pass


def test_interpreters_are_base_interpreters_of_the_version_that_they_are_listed_under() -> None:
    for version, executable in find_interpreters().items():
        code = "import sys; print('%d.%d' % sys.version_info[:2], sys.prefix == sys.base_prefix)"
        answer = subprocess.run([executable, "-I", "-c", code], capture_output=True, text=True, check=True)
        assert answer.stdout.split() == [version, "True"]
        assert not executable.is_symlink()


def test_the_running_python_is_found_from_inside_its_virtual_environment() -> None:
    assert "{}.{}".format(*sys.version_info) in find_interpreters()


def test_an_executable_that_only_claims_to_be_python_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impostor = tmp_path / "python3.12"
    impostor.write_text("#!/bin/sh\necho 'pyenv: python3.12: command not found' >&2\nexit 127\n")
    impostor.chmod(0o755)
    before = find_interpreters()
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert find_interpreters() == before


def test_the_known_runtimes_have_a_lock_with_hashes_and_a_tag_of_their_own() -> None:
    assert list(SPECS) == list(FULL_SPECS) == ["3.10", "3.11", "3.12", "3.13"]
    everything = [*SPECS.values(), *FULL_SPECS.values()]
    assert len({spec.tag for spec in everything}) == len(everything)
    assert spec_for("3.12").image_name == "numerai_predict_py_3_12"
    assert spec_for("3.12").display_name == "Python 3.12"
    assert spec_for("3.12", "full").image_name == "numerai_predict_py_3_12_full"
    for spec in everything:
        assert parse_requirements(spec.lock).is_lock
        assert "://" not in spec.lock
        assert {"lightgbm", "xgboost", "catboost", "numerai-tools"} <= pins(spec).keys()
    with pytest.raises(NotFoundError, match="core, full"):
        spec_for("3.12", "huge")
    with pytest.raises(NotFoundError, match=r"3\.10, 3\.11, 3\.12, 3\.13"):
        spec_for("2.7")


@pytest.mark.parametrize("python", SPECS)
def test_a_full_runtime_is_core_in_the_same_versions_and_the_packages_of_deep_learning(python: str) -> None:
    core, full = pins(SPECS[python]), pins(FULL_SPECS[python])
    assert core.items() <= full.items()
    assert {"torch", "onnxruntime", "tensorflow-cpu", "keras", "jax", "numba", "treelite", "skorch", "tabpfn"} <= (
        full.keys() - core.keys()
    )
    assert not {"nvidia-nccl-cu12", "nvidia-nccl-cu13", "torch"} & core.keys()


def test_the_default_is_312_or_else_the_newest_that_there_is() -> None:
    here = Path("/usr/bin/python3")
    assert default_spec(lambda: {"3.12": here, "3.13": here}, lambda version: None).python == "3.12"
    assert default_spec(lambda: {"3.13": here}, lambda version: here).python == "3.12"
    assert default_spec(lambda: {"3.10": here, "3.11": here}, lambda version: None).python == "3.11"
    with pytest.raises(SetupError, match="Install one"):
        default_spec(lambda: {"3.9": here}, lambda version: None)


@pytest.mark.slow
def test_a_built_runtime_imports_what_models_use(built: tuple[BuiltRuntime, list[str]], wanted: RuntimeSpec) -> None:
    runtime, lines = built
    code = (
        "import numpy as np, pandas, lightgbm, xgboost, catboost, polars, sklearn, statsmodels, cloudpickle\n"
        "import numerai_tools, sys\n"
        "x = np.arange(40.0).reshape(20, 2)\n"
        "print(len(xgboost.XGBRegressor(n_estimators=2).fit(x, x[:, 0]).predict(x)), 'torch' in sys.modules)\n"
    )
    answer = subprocess.run([runtime.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["20", "False"]
    assert runtime.paths.version == wanted.python
    assert (runtime.paths.packages / "numpy" / "__pycache__").is_dir(), "compiled, as the sandbox can't write there"
    assert any("ready" in line for line in lines)


@pytest.mark.slow
def test_a_module_with_a_command_line_runs_although_the_folder_was_renamed(
    built: tuple[BuiltRuntime, list[str]],
) -> None:
    runtime, _ = built
    subprocess.run([runtime.executable, "-m", "numpy.f2py", "-v"], check=True, timeout=60, capture_output=True)
    subprocess.run([runtime.folder / "bin" / "f2py", "-v"], check=True, timeout=60, capture_output=True)


@pytest.mark.slow
def test_what_is_built_is_not_built_again(built: tuple[BuiltRuntime, list[str]], wanted: RuntimeSpec) -> None:
    runtime, _ = built
    said: list[str] = []
    assert build(wanted, runtime.folder.parent, said.append) == runtime
    assert said == []
    assert load(runtime.folder.parent) == [runtime]


def test_two_builders_at_once_make_one_runtime(small: RuntimeSpec, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        first, second = pool.starmap(build, [(small, tmp_path, silent)] * 2)
    assert first == second
    assert [entry.name for entry in tmp_path.glob("[!.]*")] == [small.folder_name]


def test_a_builder_that_is_killed_leaves_nothing_that_hinders_the_next(small: RuntimeSpec, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    builder = context.Process(target=build, args=(small, tmp_path, silent))
    builder.start()
    draft = tmp_path / f".{small.folder_name}.building"
    deadline = time.monotonic() + 30
    while not draft.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert builder.pid is not None
    os.kill(builder.pid, signal.SIGKILL)
    builder.join()
    assert load(tmp_path) == []
    runtime = build(small, tmp_path, silent)
    assert load(tmp_path) == [runtime]
    assert not draft.exists()


def test_a_draft_of_another_lock_is_removed_unless_somebody_builds_it(small: RuntimeSpec, tmp_path: Path) -> None:
    for name in ("dead-1", "alive-2"):
        (tmp_path / f".{name}.lock").touch()
        (tmp_path / f".{name}.building").mkdir()
    with FolderLock(tmp_path, "alive-2"):
        build(small, tmp_path, silent)
    assert not (tmp_path / ".dead-1.building").exists()
    assert (tmp_path / ".alive-2.building").exists()


def test_a_runtime_whose_interpreter_is_gone_is_built_again(small: RuntimeSpec, tmp_path: Path) -> None:
    runtime = build(small, tmp_path, silent)
    marker = runtime.folder / MARKER
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"python": "/nowhere/python3"}))
    assert load(tmp_path) == []
    assert build(small, tmp_path, silent) == runtime


def test_an_index_that_serves_other_files_than_the_lock_names_is_refused(small: RuntimeSpec, tmp_path: Path) -> None:
    forged = RuntimeSpec(
        python=small.python, packages="forged", lock="cloudpickle==3.1.2 --hash=sha256:" + "0" * 64, imports=()
    )
    with pytest.raises(SetupError, match="failed at installing the packages") as error:
        build(forged, tmp_path, silent)
    assert "package index" in error.value.message
    assert load(tmp_path) == []
    assert not (tmp_path / f".{forged.folder_name}.building").exists()


def test_a_home_that_cannot_be_written_is_named_with_the_setting(small: RuntimeSpec, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="PREDICTD_RUNTIMES_DIR"):
        build(small, tmp_path / "file" / "runtimes", silent)


def test_two_runtimes_share_the_files_that_they_have_in_common_and_keep_them_when_one_goes(
    wanted: RuntimeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where uv's cache lies on another filesystem, to which there are no links.
    monkeypatch.setenv("UV_LINK_MODE", "copy")
    said: list[str] = []
    home = tmp_path / "runtimes"
    first = build(locked(wanted, "first", "joblib", "cloudpickle"), home, said.append)
    second = build(locked(wanted, "second", "cloudpickle"), home, said.append)
    assert "0.00 GB are shared" in said[2]

    ours, theirs = files(first), files(second)
    common = {name for name in ours.keys() & theirs.keys() if name.startswith("cloudpickle/") and ours[name].st_size}
    assert any(name.endswith(".pyc") for name in common)
    assert all(ours[name].st_ino == theirs[name].st_ino for name in common)

    remove(first)
    assert load(home) == [second]
    assert all(found.st_nlink == 2 for name, found in files(second).items() if name in common), "the pool and second"
    pool = [path for path in (home / ".files").rglob("*") if path.is_file()]
    assert not any(path.stat().st_nlink == 1 for path in pool), "nothing is kept that no runtime has"
    subprocess.run([second.executable, "-I", "-c", "import cloudpickle"], check=True)


def test_a_shared_file_that_somebody_changed_is_not_taken_over(
    wanted: RuntimeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_LINK_MODE", "copy")
    first = build(locked(wanted, "first", "joblib", "cloudpickle"), tmp_path, silent)
    (first.paths.packages / "cloudpickle" / "__init__.py").write_text("raise SystemError('changed')\n")
    second = build(locked(wanted, "second", "cloudpickle"), tmp_path, silent)
    assert "changed" not in (second.paths.packages / "cloudpickle" / "__init__.py").read_text()


def test_requirements_are_locked_with_what_a_run_needs_in_the_versions_of_core(
    wanted: RuntimeSpec, tmp_path: Path
) -> None:
    file = tmp_path / "My models.txt"
    file.write_text(CUSTOM.read_text())
    spec = custom_spec(wanted.python, file, name=None, progress=silent)
    assert spec.image_name == f"{wanted.image_name}_my_models"
    assert {"scikit-learn", "joblib", "numpy", "pandas", "pyarrow", "cloudpickle", "scipy"} <= pins(spec).keys()
    assert pins(spec).items() <= pins(wanted).items()

    other = tmp_path / "other.in"
    other.write_text("joblib\nscikit-learn>=1.5\n")
    assert custom_spec(wanted.python, other, name="my_models", progress=silent) == spec

    lock = tmp_path / "copy.lock"
    lock.write_text(spec.lock)
    assert custom_spec(wanted.python, lock, name="my_models", progress=silent) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "contains no package"),
        ("numpy\n-e ./mine", r"Line 2 .*editable"),
        ("mine @ https://example.com/mine.whl", "URL"),
        ("git+https://example.com/mine", "URL"),
        ("./wheels/mine.whl", "a local file"),
        ("-r other.txt", "copy its lines"),
        ("--extra-index-url https://me:secret@example.com/simple\nmine", "password"),
        ("--find-links wheels\nnumpy", "absolute path"),
        ("numpy==2.0.0 --hash=sha256:00\npandas==2.0.0", "pandas has no hash"),
        ("numpy>=2.0.0 --hash=sha256:00", "not every package has one version"),
        ("numpy==2.0.0 --hash=sha256:00", "lacks pandas, pyarrow, cloudpickle"),
    ],
)
def test_requirements_that_cannot_be_kept_are_refused_with_the_reason(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        custom_spec("3.12", tmp_path / "mine.txt", name=None, progress=silent)


@pytest.mark.parametrize("name", ["core", "full", "My", "a-b", "1st", "", "a" * 33])
def test_a_name_that_an_image_cannot_carry_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("numpy\n")
    with pytest.raises(InvalidInputError, match="name"):
        custom_spec("3.12", tmp_path / "mine.txt", name=name, progress=silent)


def test_requirements_that_fit_no_versions_say_so(wanted: RuntimeSpec, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("numpy<1\n")
    with pytest.raises(SetupError, match=r"numpy<1.*compatible versions exist"):
        custom_spec(wanted.python, tmp_path / "mine.txt", name=None, progress=silent)


def locked(spec: RuntimeSpec, name: str, *packages: str) -> RuntimeSpec:
    """A runtime of a few of another's packages, without what these depend on."""
    blocks = spec.lock.replace("\n    ", "\0    ").splitlines()
    kept = [block for block in blocks if block.split("==")[0] in packages]
    assert len(kept) == len(packages)
    return RuntimeSpec(
        python=spec.python, packages=name, lock="\n".join(kept).replace("\0", "\n"), imports=(packages[-1],)
    )


def files(runtime: BuiltRuntime) -> dict[str, os.stat_result]:
    packages = runtime.paths.packages
    return {str(path.relative_to(packages)): path.stat() for path in packages.rglob("*") if path.is_file()}
