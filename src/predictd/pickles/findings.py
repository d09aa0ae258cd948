"""What a check says, and how it names and counts things."""

from predictd.domain.findings import Finding, Level, fail, passed, warn

__all__ = ["Finding", "Level", "fail", "listed", "passed", "shown_name", "shown_size", "warn"]


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
