"""What a look at a pickle says: one line for each point of a list, with a stable code, a sentence and a fix."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How a point of the list came out.

    FAIL is what fails for certain in every run; WARN is what may fail, and what cannot be told.
    """

    PASS = "pass"  # noqa: S105
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the list.

    Attributes:
        topic: the point of the list, such as 'repeat' or 'time'.
        code: stable name of what was found: a code of `predictd.domain.failures` where a run fails with it.
        level: whether it is in order.
        sentence: what was found.
        fix: what to do about it; empty when it passed.
    """

    topic: str
    code: str
    level: Level
    sentence: str
    fix: str = ""


def verdict(findings: Sequence[Finding], where: str) -> str:
    """All of the list in one sentence; `where` is the name of a runtime, empty for none."""
    failed = sum(finding.level is Level.FAIL for finding in findings)
    warned = sum(finding.level is Level.WARN for finding in findings)
    location = f" in {where}" if where else ""
    if failed:
        return f"It would not run{location}: {failed} {'point fails' if failed == 1 else 'points fail'}."
    if warned:
        return f"It may run{location}; {warned} {'point needs' if warned == 1 else 'points need'} a look."
    return f"Nothing speaks against it{location}."


def passed(topic: str, sentence: str) -> Finding:
    """A point that is in order; its code is the topic's."""
    return Finding(topic=topic, code=topic, level=Level.PASS, sentence=sentence)


def warn(topic: str, code: str, sentence: str, fix: str) -> Finding:
    """What may go wrong, cannot be told, or costs more than it must."""
    return Finding(topic=topic, code=code, level=Level.WARN, sentence=sentence, fix=fix)


def fail(topic: str, code: str, sentence: str, fix: str) -> Finding:
    """What goes wrong for certain."""
    return Finding(topic=topic, code=code, level=Level.FAIL, sentence=sentence, fix=fix)
