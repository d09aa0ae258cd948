"""Requirements files: what they ask for, and whether they are locks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from predictd.domain.errors import InvalidInputError

MOST_BYTES = 4 * 1024 * 1024

_NAME = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*(.*)")
_PINNED = re.compile(r"={2,3}\s*([^\s;,*]+)\s*(;?)")
_PIN = re.compile(r"={2,3}\s*[^\s;,*]+\s*(;|$)")
_HASH = re.compile(r"\s--hash[ =]\s*\S+")
_INDEX_OPTIONS = ("--index-url", "-i", "--extra-index-url", "--find-links", "-f", "--no-index")
_ENDINGS = (".whl", ".zip", ".tar.gz", ".tar.bz2")


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """What a requirements file asks for.

    Attributes:
        names: the packages by their normalized names, as in 'scikit-learn'.
        options: the lines that say which package index to ask.
        is_lock: whether every package is there with its version and hashes.
    """

    names: frozenset[str]
    options: tuple[str, ...]
    is_lock: bool


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One package of a lock.

    Attributes:
        name: its normalized name, as in 'scikit-learn'.
        version: the version of it.
        is_conditional: whether it is for some machines or Pythons only.
    """

    name: str
    version: str
    is_conditional: bool


def read_requirements(path: Path) -> str:
    """The text of a requirements file.

    Raises:
        InvalidInputError: it can't be read, is too large or no text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise InvalidInputError(f"The requirements file {path} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"The requirements file {path} is not text in UTF-8; save it as such.") from error
    if len(content) > MOST_BYTES:
        raise InvalidInputError(f"The requirements file {path} is larger than {MOST_BYTES // 1024**2} MiB.")
    return text


def parse_requirements(text: str) -> Requirements:
    """What the text of a requirements file asks for.

    Raises:
        InvalidInputError: it asks for nothing, or for what is in no package index: a folder, a URL, another file. Or
            some of its packages have hashes and others have not.
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
        # One package may have several lines, each for other machines.
        hashed[name] = hashed.get(name, True) and _HASH.search(line) is not None
    if not hashed:
        raise InvalidInputError("The requirements file names no package; write one a line, for example: torch>=2.9.")
    bare = [name for name, has_hash in hashed.items() if not has_hash]
    is_lock = len(bare) < len(hashed)
    if is_lock and (bare or not pinned):
        what = f"{bare[0]} has no hash" if bare else "not every package has one version (name==version)"
        raise InvalidInputError(
            f"The requirements file is a lock only in part: {what}. Lock all of it (uv pip compile --generate-hashes), "
            "or take out the hashes and it is locked for you."
        )
    return Requirements(names=frozenset(hashed), options=tuple(options), is_lock=is_lock)


def pins(lock: str) -> list[Pin]:
    """The packages of a lock, in its order; one that has several lines is there several times."""
    found = []
    for _, line in _logical_lines(lock):
        match = None if line.startswith("-") else _NAME.fullmatch(_HASH.sub("", line).strip())
        version = _PINNED.match(match[2]) if match else None
        if match and version:
            found.append(Pin(name=normalized(match[1]), version=version[1], is_conditional=bool(version[2])))
    return found


def normalized(name: str) -> str:
    """A package's name as indexes write it: 'scikit-learn' for 'Scikit_Learn'."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments, those that end in a backslash joined; each with the number of its first line."""
    begun: list[str] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        begun.append(line.removesuffix("\\").strip())
        if line.endswith("\\"):
            continue
        whole = " ".join(part for part in begun if part)
        if whole:
            yield number - len(begun) + 1, whole
        begun = []
    if any(begun):
        yield len(text.splitlines()) - len(begun) + 1, " ".join(part for part in begun if part)


def _check_option(number: int, line: str) -> str:
    option, *values = re.split(r"[\s=]+", line, maxsplit=1)
    if option in _INDEX_OPTIONS:
        if re.search(r"://[^/\s]*@", line):
            raise _refused(number, option, "a password would be kept with the runtime; set UV_INDEX instead")
        if option in {"-f", "--find-links"} and not re.match(r"/|\w+://", "".join(values)):
            raise _refused(number, line, "write the whole path of the folder, from / on")
        return line
    if option in {"-e", "--editable"}:
        raise _refused(number, line, "an editable package changes after it was built; make a wheel of it")
    if option in {"-r", "--requirement", "-c", "--constraint"}:
        raise _refused(number, line, "another file is not kept with the runtime; copy its lines into this one")
    raise _refused(number, line, f"of the options only {', '.join(_INDEX_OPTIONS)} can be taken")


def _parse(number: int, requirement: str) -> tuple[str, bool]:
    """Normalized name of a requirement, and whether it is of one version."""
    reason = "it must come from a package index, where every machine gets the same; publish it there and write its name"
    if "://" in requirement or re.search(r"\s@\s|@\s*file:", requirement):
        raise _refused(number, requirement, f"a URL can serve another file tomorrow; {reason}")
    first = re.split(r"[;\[]", requirement, maxsplit=1)[0].strip()
    if first.startswith((".", "/", "~")) or "/" in first or first.lower().endswith(_ENDINGS):
        raise _refused(number, requirement, f"a file of this machine is on no other; {reason}")
    match = _NAME.fullmatch(requirement)
    if match is None:
        raise _refused(number, requirement, "write a package's name, then its version: name==1.2")
    return normalized(match[1]), _PIN.match(match[2]) is not None


def _refused(number: int, line: str, why: str) -> InvalidInputError:
    return InvalidInputError(f"Line {number} of the requirements file ({line[:80]}) can't be taken: {why}.")
