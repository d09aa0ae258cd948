"""Parse requirements files and recognize locks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from predictd.domain.errors import InvalidInputError

MAX_BYTES = 4 * 1024 * 1024

_NAME = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*(.*)")
_PINNED = re.compile(r"={2,3}\s*([^\s;,*]+)\s*(;?)")
_PIN = re.compile(r"={2,3}\s*[^\s;,*]+\s*(;|$)")
_HASH = re.compile(r"\s--hash[ =]\s*\S+")
_INDEX_OPTIONS = ("--index-url", "-i", "--extra-index-url", "--find-links", "-f", "--no-index")
_ARCHIVE_SUFFIXES = (".whl", ".zip", ".tar.gz", ".tar.bz2")


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """The parsed requirements file.

    Attributes:
        names: the packages by their normalized names, as in 'scikit-learn'.
        options: the lines that select the package index.
        is_lock: whether every package has a version and hashes.
    """

    names: frozenset[str]
    options: tuple[str, ...]
    is_lock: bool


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One package of a lock.

    Attributes:
        name: its normalized name, as in 'scikit-learn'.
        version: its version.
        is_conditional: whether it is only for some machines or Pythons.
    """

    name: str
    version: str
    is_conditional: bool


def read_requirements(path: Path) -> str:
    """Return the text of a requirements file.

    Raises:
        InvalidInputError: the file cannot be read, is too large or not text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise InvalidInputError(f"The requirements file {path} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"The requirements file {path} is not UTF-8 text. Save it as UTF-8.") from error
    if len(content) > MAX_BYTES:
        raise InvalidInputError(f"The requirements file {path} is larger than {MAX_BYTES // 1024**2} MiB.")
    return text


def parse_requirements(text: str) -> Requirements:
    """Parse the text of a requirements file.

    Raises:
        InvalidInputError: the file is empty, requires something outside of a package index (a folder, a URL, another
            file), or only some packages have hashes.
    """
    options: list[str] = []
    hashed: dict[str, bool] = {}
    pinned = True
    for number, line in _logical_lines(text):
        if line.startswith("-"):
            options.append(_check_option(number, line))
            continue
        name, is_pinned = _parse(number, _HASH.sub("", line).strip())
        pinned &= is_pinned
        # A package may have several lines, each for other machines.
        hashed[name] = hashed.get(name, True) and _HASH.search(line) is not None
    if not hashed:
        raise InvalidInputError(
            "The requirements file contains no package. Write one package per line, for example: torch>=2.9."
        )
    without_hash = [name for name, has_hash in hashed.items() if not has_hash]
    is_lock = len(without_hash) < len(hashed)
    if is_lock and (without_hash or not pinned):
        problem = (
            f"{without_hash[0]} has no hash" if without_hash else "not every package has one version (name==version)"
        )
        raise InvalidInputError(
            f"The requirements file is only partly a lock: {problem}. Lock all packages (uv pip compile "
            "--generate-hashes), or remove the hashes to have it locked automatically."
        )
    return Requirements(names=frozenset(hashed), options=tuple(options), is_lock=is_lock)


def pins(lock: str) -> list[Pin]:
    """Return the packages of a lock in its order; a package with several lines is repeated."""
    locked = []
    for _, line in _logical_lines(lock):
        match = None if line.startswith("-") else _NAME.fullmatch(_HASH.sub("", line).strip())
        version = _PINNED.match(match[2]) if match else None
        if match and version:
            locked.append(Pin(name=normalized(match[1]), version=version[1], is_conditional=bool(version[2])))
    return locked


def normalized(name: str) -> str:
    """Return a package's normalized name: 'scikit-learn' for 'Scikit_Learn'."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines without comments, joined at trailing backslashes, each with the number of its first line."""
    parts: list[str] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        parts.append(line.removesuffix("\\").strip())
        if line.endswith("\\"):
            continue
        joined = " ".join(part for part in parts if part)
        if joined:
            yield number - len(parts) + 1, joined
        parts = []
    if any(parts):
        yield len(text.splitlines()) - len(parts) + 1, " ".join(part for part in parts if part)


def _check_option(number: int, line: str) -> str:
    option, *values = re.split(r"[\s=]+", line, maxsplit=1)
    if option in _INDEX_OPTIONS:
        if re.search(r"://[^/\s]*@", line):
            raise _rejection(number, option, "a password would be stored with the runtime; set UV_INDEX instead")
        if option in {"-f", "--find-links"} and not re.match(r"/|\w+://", "".join(values)):
            raise _rejection(number, line, "write the absolute path of the folder")
        return line
    if option in {"-e", "--editable"}:
        raise _rejection(number, line, "an editable package changes after the build; build a wheel instead")
    if option in {"-r", "--requirement", "-c", "--constraint"}:
        raise _rejection(number, line, "another file is not stored with the runtime; copy its lines into this file")
    raise _rejection(number, line, f"only the options {', '.join(_INDEX_OPTIONS)} are supported")


def _parse(number: int, requirement: str) -> tuple[str, bool]:
    """Return the normalized name of a requirement, and whether it is pinned to one version."""
    reason = "publish it to a package index, where every machine gets the same file, and write its name"
    if "://" in requirement or re.search(r"\s@\s|@\s*file:", requirement):
        raise _rejection(number, requirement, f"a URL may serve another file later; {reason}")
    first = re.split(r"[;\[]", requirement, maxsplit=1)[0].strip()
    if first.startswith((".", "/", "~")) or "/" in first or first.lower().endswith(_ARCHIVE_SUFFIXES):
        raise _rejection(number, requirement, f"a local file is missing on other machines; {reason}")
    match = _NAME.fullmatch(requirement)
    if match is None:
        raise _rejection(number, requirement, "write a package name and a version: name==1.2")
    return normalized(match[1]), _PIN.match(match[2]) is not None


def _rejection(number: int, line: str, why: str) -> InvalidInputError:
    return InvalidInputError(f"Line {number} of the requirements file ({line[:80]}) is not supported: {why}.")
