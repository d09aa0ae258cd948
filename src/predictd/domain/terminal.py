"""What a model prints, as a terminal would show it: lines that are rewritten (progress bars) count once, at the end."""

import codecs
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from predictd.domain.text import replace_unprintable

LINE_LENGTH = 8000
"""A longer line goes on in the next one."""
# No terminal is larger; what moves the cursor farther must not make much of a few bytes.
_MAX_ROWS, _MAX_COLUMNS = 20, 300
# So long after it was last written to, a progress bar above the cursor is taken for finished.
_SETTLED_SECONDS = 1.0
# An escape sequence that does not end within so many characters is none.
_MAX_SEQUENCE = 256

_TOKEN = re.compile(
    r"(?P<text>[^\x00-\x08\x0a-\x1f\x7f-\x9f]+)"
    r"|\x1b\[(?P<numbers>[0-?]*)[ -/]*(?P<final>[@-~])"
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|\x1b[ -/]*(?P<escape>[0-~])"
    r"|(?P<control>.)",
    re.DOTALL,
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]")
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)\Z")


def printable(text: str, allowed: str = "\t") -> str:
    """Return text of others without escape sequences.

    Everything else that would steer a terminal or turn the text around becomes U+FFFD, but the characters in `allowed`.
    """
    return replace_unprintable(_SEQUENCE.sub("", text), keep=allowed)


@dataclass
class _Row:
    text: str = ""
    is_returned: bool = False
    """Whether the cursor went back in it."""
    is_rewritten: bool = False
    written_at: float = 0.0


class TerminalLines:
    """Makes lines of a stream of bytes. What moves the cursor is carried out, all other escape sequences are dropped.

    `\\r`, `\\b`, moves up, down, left and right, and erasing are understood, so that tqdm's bars, nested ones too, come
    out as they stand at last. A line that was never rewritten is returned at its `\\n`; a rewritten one when the cursor
    has left it for a second, and with it the lines behind it. Lines hold no control characters but tabs: others become
    U+FFFD.

    Not safe for several threads at once.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._unfinished = ""
        # The rows that may still change; those before them are returned already.
        self._rows = [_Row()]
        self._at = 0
        self._column = 0

    @property
    def current(self) -> str:
        """The line of the cursor as it stands."""
        return _shown(self._rows[self._at])

    def feed(self, chunk: bytes = b"") -> list[str]:
        """Take bytes and return the lines that are finished; without any, those that are by now."""
        text = self._unfinished + self._decoder.decode(chunk)
        unfinished = _UNFINISHED.search(text, max(0, len(text) - _MAX_SEQUENCE))
        end = unfinished.start() if unfinished is not None else len(text)
        self._unfinished = text[end:]
        return self._take(text[:end])

    def close(self) -> list[str]:
        """Return all lines that are left, but empty ones at the end."""
        lines = self._take(self._unfinished + self._decoder.decode(b"", final=True))
        self._unfinished = ""
        rest = [_shown(row) for row in self._rows]
        while rest and not rest[-1]:
            rest.pop()
        self._rows, self._at, self._column = [_Row()], 0, 0
        return lines + rest

    def _take(self, text: str) -> list[str]:
        now = self._clock()
        row = self._rows[0]
        is_at_end = len(self._rows) == 1 and not row.is_returned and self._column == len(row.text)
        if is_at_end and _CONTROL.search(text) is None:
            return self._append(text, now)
        lines: list[str] = []
        for token in _TOKEN.finditer(text):
            written, numbers, final, escape, control = token.groups()
            if written is not None:
                self._write(written, now, lines)
            elif final is not None:
                self._move(final, numbers)
            elif control == "\n":
                self._next_row(lines)
            elif control == "\r":
                self._return_to(0)
            elif control == "\b":
                self._return_to(self._column - 1)
            elif escape == "M":
                self._at = max(0, self._at - 1)
            elif control is not None:
                self._write("\N{REPLACEMENT CHARACTER}", now, lines)
        while self._at > 0 and self._is_finished(self._rows[0], now):
            self._release(lines)
        return lines

    def _append(self, text: str, now: float) -> list[str]:
        """The same for text without control sequences behind a line that is not rewritten; many times as fast."""
        lines = [
            line[start : start + LINE_LENGTH]
            for line in (self._rows[0].text + text).split("\n")
            for start in range(0, max(len(line), 1), LINE_LENGTH)
        ]
        self._rows = [_Row(lines.pop(), written_at=now)]
        self._column = len(self._rows[0].text)
        return lines

    def _is_finished(self, row: _Row, now: float) -> bool:
        return not row.is_rewritten or now - row.written_at > _SETTLED_SECONDS

    def _write(self, text: str, now: float, lines: list[str]) -> None:
        while text:
            if self._column >= LINE_LENGTH:
                self._next_row(lines)
            row, column = self._rows[self._at], self._column
            part, text = text[: LINE_LENGTH - column], text[LINE_LENGTH - column :]
            row.is_rewritten = row.is_rewritten or row.is_returned or column < len(row.text)
            row.text = row.text[:column].ljust(column) + part + row.text[column + len(part) :]
            row.written_at = now
            self._column += len(part)

    def _next_row(self, lines: list[str]) -> None:
        self._at += 1
        self._column = 0
        if self._at == len(self._rows):
            self._rows.append(_Row())
        while len(self._rows) > _MAX_ROWS or (self._at > 0 and not self._rows[0].is_rewritten):
            self._release(lines)

    def _release(self, lines: list[str]) -> None:
        lines.append(_shown(self._rows.pop(0)))
        self._at -= 1

    def _return_to(self, column: int) -> None:
        row = self._rows[self._at]
        row.is_returned = True
        self._column = min(max(column, 0), max(len(row.text), _MAX_COLUMNS), LINE_LENGTH - 1)

    def _move(self, final: str, numbers: str) -> None:
        first = numbers.partition(";")[0]
        number = int(first[:4]) if first.isdecimal() else 0
        count = max(number, 1)
        row = self._rows[self._at]
        if final in "AF":
            self._at = max(0, self._at - count)
        elif final in "BE":
            self._at = min(len(self._rows) - 1, self._at + count)
        elif final in "CD":
            self._return_to(self._column + (count if final == "C" else -count))
        elif final == "G":
            self._return_to(count - 1)
        elif final == "K":
            row.text = "" if number == 2 else " " * self._column if number == 1 else row.text[: self._column]
        elif final == "J":
            row.text = row.text[: self._column]
            for below in self._rows[self._at + 1 :]:
                below.text = ""
        if final in "ABEF":
            self._rows[self._at].is_returned = True
            self._column = 0 if final in "EF" else self._column


def _shown(row: _Row) -> str:
    """The text of a row, without the blanks by which a bar was wiped out."""
    return row.text.rstrip(" ") if row.is_rewritten else row.text
