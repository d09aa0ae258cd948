"""Format names, sizes and findings for people."""

from collections.abc import Sequence

from predictd.domain.findings import Finding, Level, fail, passed, warn
from predictd.domain.text import replace_unprintable

__all__ = ["Finding", "Level", "fail", "format_name", "format_size", "join_names", "limit_findings", "passed", "warn"]

_MAX_PER_TOPIC = 20
_SEVERITY = (Level.FAIL, Level.WARN, Level.PASS)


def limit_findings(findings: Sequence[Finding]) -> list[Finding]:
    """Return at most 20 findings of each topic, the most severe first, and one that counts the rest."""
    topics: dict[str, list[Finding]] = {}
    for finding in findings:
        topics.setdefault(finding.topic, []).append(finding)
    limited: list[Finding] = []
    for topic, of_topic in topics.items():
        by_severity = sorted(of_topic, key=lambda finding: _SEVERITY.index(finding.level))
        limited += by_severity[:_MAX_PER_TOPIC]
        if rest := by_severity[_MAX_PER_TOPIC:]:
            fix = "Fix those first and check again." if rest[0].fix else ""
            more = f"And {len(rest):,} more of these."
            limited.append(Finding(level=rest[0].level, topic=topic, code=rest[0].code, sentence=more, fix=fix))
    return limited


def join_names(names: "list[str] | tuple[str, ...]", max_names: int = 4) -> str:
    """Return 'a, b, c and 5 more'."""
    text = ", ".join(format_name(name) for name in names[:max_names])
    return text if len(names) <= max_names else f"{text} and {len(names) - max_names} more"


def format_name(text: str, max_length: int = 80) -> str:
    """Return a string of the file on one line, printable and not long."""
    line = replace_unprintable(text, "?")
    return line if len(line) <= max_length else line[: max_length - 1] + "…"


def format_size(count: int) -> str:
    """Return bytes for people: '12.3 MB'."""
    for unit, bytes_of in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= bytes_of:
            return f"{count / bytes_of:.1f} {unit}"
    return f"{count} bytes"
