"""What a check says: one line for each point of the list, with a stable code, a sentence and a fix."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How a point of the list came out."""

    PASS = "pass"  # noqa: S105
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of a check.

    Attributes:
        topic: the point of the list, such as 'python' or 'imports'.
        code: stable name of what was found: a code of `predictd.domain.failures` where a run would fail with it.
        sentence: what was found.
        fix: what to do about it; empty when it passed.
    """

    topic: str
    code: str
    level: Level
    sentence: str
    fix: str = ""


def passed(topic: str, sentence: str) -> Finding:
    """A point that is in order; its code is the topic's."""
    return Finding(topic=topic, code=topic, level=Level.PASS, sentence=sentence)


def warn(topic: str, code: str, sentence: str, fix: str) -> Finding:
    """What may go wrong, or costs more than it must."""
    return Finding(topic=topic, code=code, level=Level.WARN, sentence=sentence, fix=fix)


def fail(topic: str, code: str, sentence: str, fix: str) -> Finding:
    """What goes wrong."""
    return Finding(topic=topic, code=code, level=Level.FAIL, sentence=sentence, fix=fix)


def listed(names: "list[str] | tuple[str, ...]", most: int = 4) -> str:
    """'a, b, c and 5 more'."""
    shown = ", ".join(shown_name(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def shown_name(text: str, most: int = 80) -> str:
    """A text of the file on one line, printable and not long."""
    line = "".join(one if one.isprintable() else "?" for one in text)
    return line if len(line) <= most else line[: most - 1] + "…"


def shown_size(count: int) -> str:
    """Bytes for people: '12.3 MB'."""
    for unit, bytes_of in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= bytes_of:
            return f"{count / bytes_of:.1f} {unit}"
    return f"{count} bytes"
