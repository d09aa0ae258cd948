"""Findings of a pickle check: one per topic, with a stable code, a sentence and a fix."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """The severity of a finding.

    FAIL fails in every run; WARN may fail, or could not be checked.
    """

    PASS = "pass"  # noqa: S105
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding.

    Attributes:
        topic: the checked topic, such as 'repeat' or 'time'.
        code: stable name of what was found: a code of `predictd.domain.failures` where a run fails with it.
        level: severity.
        sentence: what was found.
        fix: what to do about it; empty when it passed.
    """

    topic: str
    code: str
    level: Level
    sentence: str
    fix: str = ""


def verdict(findings: Sequence[Finding], where: str) -> str:
    """Return a summary of the findings; `where` is the name of a runtime, or empty."""
    failed = sum(finding.level is Level.FAIL for finding in findings)
    warned = sum(finding.level is Level.WARN for finding in findings)
    location = f" in {where}" if where else ""
    if failed:
        return f"It would not run{location}: {failed} {'point fails' if failed == 1 else 'points fail'}."
    if warned:
        return f"It may run{location}; {warned} {'point needs' if warned == 1 else 'points need'} a look."
    return f"No problems found{location}."


def passed(topic: str, sentence: str) -> Finding:
    """Return a passed finding, whose code is its topic."""
    return Finding(topic=topic, code=topic, level=Level.PASS, sentence=sentence)


def warn(topic: str, code: str, sentence: str, fix: str) -> Finding:
    """Return a finding that may fail, could not be checked, or is wasteful."""
    return Finding(topic=topic, code=code, level=Level.WARN, sentence=sentence, fix=fix)


def fail(topic: str, code: str, sentence: str, fix: str) -> Finding:
    """Return a finding that fails in every run."""
    return Finding(topic=topic, code=code, level=Level.FAIL, sentence=sentence, fix=fix)
