"""Runtimes with an admin's own requirements."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from predictd.domain.errors import InvalidInputError
from predictd.runtimes.build_steps import run_step
from predictd.runtimes.interpreters import require_interpreter
from predictd.runtimes.requirements import Requirements, parse_requirements, read_requirements
from predictd.runtimes.specs import PACKAGE_SETS, RUNNER_IMPORTS, RUNNER_NEEDS, RuntimeSpec, spec_for
from predictd.runtimes.uv import uv_executable

NAME_LENGTH = 32
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def custom_spec(python: str, file: Path, *, name: str | None, progress: Callable[[str], None]) -> RuntimeSpec:
    """Return the runtime of a requirements file, which is locked first if it is not a lock.

    A lock is used unchanged. To other requirements, the packages that a run needs are added, and unpinned packages
    prefer the versions of the core runtime of that Python, so that both share files.

    Args:
        python: 'major.minor'.
        file: requirements, or a lock with hashes.
        name: name of the package set; by default the file name without its suffix.
        progress: called with a line for each step.

    Raises:
        NotFoundError: no runtime has that Python.
        InvalidInputError: the name or the file is invalid.
        SetupError: no versions are compatible, or the index or the interpreter is unavailable.
    """
    core = spec_for(python)
    name = _check_name(name) if name is not None else _name_of(file)
    text = read_requirements(file)
    requirements = parse_requirements(text)
    missing = [need for need in RUNNER_NEEDS if need not in requirements.names]
    if not requirements.is_lock:
        text = _resolve(core, f"Python {python} ({name})", text, requirements, missing, progress)
    elif missing:
        raise InvalidInputError(
            f"The lock {file} lacks {', '.join(missing)}, which every run needs. Add them and lock again."
        )
    return RuntimeSpec(python=python, packages=name, lock=text, imports=RUNNER_IMPORTS)


def _resolve(
    core: RuntimeSpec,
    label: str,
    text: str,
    requirements: Requirements,
    missing: list[str],
    progress: Callable[[str], None],
) -> str:
    """Return the lock of a plain requirements file; equal requirements have equal locks, regardless of the file
    name.
    """
    interpreter = require_interpreter(core.python, progress)
    progress(f"{label}: choosing the versions for {len(requirements.names)} requirements")
    with tempfile.TemporaryDirectory(prefix="predictd-lock-") as name:
        folder = Path(name)
        (folder / "requirements.txt").write_text("\n".join([text, *missing]) + "\n", encoding="utf-8")
        # uv prefers the versions of an existing lock if the requirements allow them.
        (folder / "lock.txt").write_text(core.lock, encoding="utf-8")
        options = ["--generate-hashes", "--only-binary", ":all:", "--no-header", "--no-annotate", "--no-config"]
        options += ["--python", str(interpreter.executable), "--output-file", "lock.txt"]
        command = [uv_executable(), "pip", "compile", "--quiet", *options, "requirements.txt"]
        run_step(label, "choosing the versions", command, folder=folder)
        lock = (folder / "lock.txt").read_text(encoding="utf-8")
    return "".join(f"{option}\n" for option in requirements.options) + lock


def _name_of(file: Path) -> str:
    """Return a name derived from the file name: 'my_models' for 'My-models.in'."""
    name = re.sub(r"[^a-z0-9]+", "_", file.stem.lower()).strip("_")
    try:
        return _check_name(name)
    except InvalidInputError as error:
        raise InvalidInputError(f"{error.message} It comes from the file name. Choose another with --name.") from error


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name) or len(name) > NAME_LENGTH:
        raise InvalidInputError(
            f"The name {name[:60]!r} of a package set is invalid. Use 1 to {NAME_LENGTH} lowercase letters, "
            "digits and _, starting with a letter."
        )
    if name in PACKAGE_SETS:
        raise InvalidInputError(f"The name {name!r} belongs to a package set of predictd. Choose another.")
    return name
