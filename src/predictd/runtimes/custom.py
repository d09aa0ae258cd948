"""Runtimes of an organiser's own requirements."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from predictd.domain.errors import InvalidInputError
from predictd.runtimes.interpreters import require_interpreter
from predictd.runtimes.requirements import Requirements, parse_requirements, read_requirements
from predictd.runtimes.specs import PACKAGE_SETS, RUNNER_IMPORTS, RUNNER_NEEDS, RuntimeSpec, spec_for
from predictd.runtimes.steps import run_step
from predictd.runtimes.uv import uv_executable

NAME_LENGTH = 32
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def custom_spec(python: str, file: Path, *, name: str | None, progress: Callable[[str], None]) -> RuntimeSpec:
    """The runtime of a requirements file, which is locked first if it is not a lock.

    A lock is taken as it is. Requirements get what a run needs added, and where they leave the choice they get the
    versions of the core runtime of that Python, so that the two share their files.

    Args:
        python: 'major.minor'.
        file: requirements, or a lock with hashes.
        name: name of the package set; by default that of the file, without its ending.
        progress: is told in a line what goes on.

    Raises:
        NotFoundError: there are no runtimes of that Python.
        InvalidInputError: the name or the file can't be taken.
        SetupError: no versions fit together, or the index or the interpreter is out of reach.
    """
    core = spec_for(python)
    name = _check_name(name) if name is not None else _name_of(file)
    text = read_requirements(file)
    wanted = parse_requirements(text)
    lacking = [need for need in RUNNER_NEEDS if need not in wanted.names]
    if not wanted.is_lock:
        text = _resolve(core, f"Python {python} ({name})", text, wanted, lacking, progress)
    elif lacking:
        raise InvalidInputError(
            f"The lock {file} lacks {', '.join(lacking)}, without which no model can be run. Lock it with them in it."
        )
    return RuntimeSpec(python=python, packages=name, lock=text, imports=RUNNER_IMPORTS)


def _resolve(
    core: RuntimeSpec,
    label: str,
    text: str,
    wanted: Requirements,
    lacking: list[str],
    progress: Callable[[str], None],
) -> str:
    """The lock of a plain requirements file; equal requirements have equal locks, whatever the file is called."""
    interpreter = require_interpreter(core.python, progress)
    progress(f"{label}: choosing the versions for {len(wanted.names)} requirements")
    with tempfile.TemporaryDirectory(prefix="predictd-lock-") as name:
        folder = Path(name)
        (folder / "requirements.txt").write_text("\n".join([text, *lacking]) + "\n", encoding="utf-8")
        # What an earlier lock says is preferred by uv where the requirements allow it.
        (folder / "lock.txt").write_text(core.lock, encoding="utf-8")
        options = ["--generate-hashes", "--only-binary", ":all:", "--no-header", "--no-annotate", "--no-config"]
        options += ["--python", str(interpreter.executable), "--output-file", "lock.txt"]
        command = [uv_executable(), "pip", "compile", "--quiet", *options, "requirements.txt"]
        run_step(label, "choosing the versions", command, folder=folder)
        lock = (folder / "lock.txt").read_text(encoding="utf-8")
    return "".join(f"{option}\n" for option in wanted.options) + lock


def _name_of(file: Path) -> str:
    """A name made of the file's: 'My-models.in' becomes 'my_models'."""
    name = re.sub(r"[^a-z0-9]+", "_", file.stem.lower()).strip("_")
    try:
        return _check_name(name)
    except InvalidInputError as error:
        raise InvalidInputError(f"{error.message} It comes from the file's name; give another with --name.") from error


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name) or len(name) > NAME_LENGTH:
        raise InvalidInputError(
            f"The name {name[:60]!r} of a package set can't be taken: use 1 to {NAME_LENGTH} lower case letters, "
            "digits and _, a letter first."
        )
    if name in PACKAGE_SETS:
        raise InvalidInputError(f"The name {name!r} is that of a package set that comes with predictd; choose another.")
    return name
