"""What a check says, and how it names and counts things."""

from collections.abc import Sequence

from predictd.domain.findings import Finding, Level, fail, passed, warn
from predictd.domain.text import replace_unprintable

__all__ = ["Finding", "Level", "fail", "listed", "passed", "shortened", "shown_name", "shown_size", "warn"]

MOST_OF_TOPIC = 20
_GRAVITY = (Level.FAIL, Level.WARN, Level.PASS)


def shortened(findings: Sequence[Finding]) -> list[Finding]:
    """Return at most 20 findings of each topic, the gravest, and one more that counts the rest."""
    topics: dict[str, list[Finding]] = {}
    for finding in findings:
        topics.setdefault(finding.topic, []).append(finding)
    shown: list[Finding] = []
    for topic, of_topic in topics.items():
        gravest = sorted(of_topic, key=lambda finding: _GRAVITY.index(finding.level))
        shown += gravest[:MOST_OF_TOPIC]
        if rest := gravest[MOST_OF_TOPIC:]:
            fix = "Fix those first and check again." if rest[0].fix else ""
            more = f"And {len(rest):,} more of these."
            shown.append(Finding(level=rest[0].level, topic=topic, code=rest[0].code, sentence=more, fix=fix))
    return shown


def listed(names: "list[str] | tuple[str, ...]", most: int = 4) -> str:
    """'a, b, c and 5 more'."""
    shown = ", ".join(shown_name(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def shown_name(text: str, most: int = 80) -> str:
    """A text of the file on one line, printable and not long."""
    line = replace_unprintable(text, "?")
    return line if len(line) <= most else line[: most - 1] + "…"


def shown_size(count: int) -> str:
    """Bytes for people: '12.3 MB'."""
    for unit, bytes_of in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= bytes_of:
            return f"{count / bytes_of:.1f} {unit}"
    return f"{count} bytes"
