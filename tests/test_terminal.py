"""What a model prints becomes the lines that a terminal would show, whatever it prints and however it arrives."""

import io
import random
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

from predictd.domain.terminal import LINE_LENGTH, TerminalLines

TIMES = re.compile(r"\[.*\]")


PARTS = [
    *(b"text", b"\n", b"\r", b"\b", b"\x1b[A", b"\x1b[2B", b"\x1b[K", b"\x1b[J", b"\x1b[5D", b"\x1b[9C", b"\x1bM"),
    *(b"\x1b[31m", b"\x1b]0;t\x07", b"\x1b", b"[", b"\x9b", "ü".encode()),
]


class Clock:
    """A clock that stands still until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def lines_of(content: bytes, *cuts: int) -> list[str]:
    """The lines of bytes that arrive in parts, all in one moment."""
    terminal = TerminalLines(Clock())
    places = sorted({0, len(content), *(cut % (len(content) + 1) for cut in cuts)})
    lines = [line for start, end in pairwise(places) for line in terminal.feed(content[start:end])]
    return lines + terminal.close()


def bars() -> bytes:
    """What tqdm writes to a pipe: one bar, lines between, and two levels of nested bars."""
    file = io.StringIO()
    print("loading weights", file=file)
    for _ in tqdm(range(30_000), file=file, mininterval=0, desc="rows"):
        pass
    print("loaded", file=file)
    for _ in tqdm(range(3), file=file, mininterval=0, desc="folds"):
        for _ in tqdm(range(5), file=file, mininterval=0, desc="trees", leave=False):
            pass
    print("done", file=file)
    return file.getvalue().encode()


def without_times(line: str) -> str:
    """A bar without how long it took, which differs from one writing to the next."""
    return TIMES.sub("", line).rstrip()


def test_bars_of_tqdm_stand_as_they_were_last() -> None:
    content = bars()
    assert len(content) > 1 << 20
    shown = [without_times(line) for line in lines_of(content)]
    bar = "100%|##########|"
    assert shown == ["loading weights", f"rows: {bar} 30000/30000", "loaded", f"folds: {bar} 3/3", "done"]
    draw = random.Random(1)
    assert lines_of(content, *(draw.randrange(len(content)) for _ in range(500))) == lines_of(content)


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"one\n\ntwo", ["one", "", "two"]),
        (b"windows\r\nends\r\n", ["windows", "ends"]),
        (b"0%\r50%\r100%", ["100%"]),
        (b"0%\r50%\r100%\nnext\n", ["100%", "next"]),
        (b"longer\rshort\n", ["shortr"]),
        (b"longer\r\x1b[Kshort\n", ["short"]),
        (b"1/10\b\b\b\b2/10\n", ["2/10"]),
        (b"first\nsecond\x1b[A\rFIRST\n", ["first", "FIRSTd"]),
        (b"\rfirst\rone\n\rtwo\x1b[A\rFIRST\n\n", ["FIRST", "two"]),
        (b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07and\x1b]8;;http://x\x1b\\ link\x1b(B\n", ["red and link"]),
        (b"bell\x07 nul\x00 \xff tab\t\xc3\xbc\n", ["bell\ufffd nul\ufffd \ufffd tab\t\u00fc"]),
        (b"\x1b[", []),
        (b"x" * (LINE_LENGTH + 1) + b"\ny", ["x" * LINE_LENGTH, "x", "y"]),
        (b"\x1b[9999Cx\n", [" " * 300 + "x"]),
    ],
)
def test_what_moves_the_cursor_is_carried_out_and_all_else_dropped(printed: bytes, shown: list[str]) -> None:
    assert lines_of(printed) == shown


def test_a_plain_line_is_finished_at_once_and_a_bar_a_second_after_it_was_left() -> None:
    clock = Clock()
    terminal = TerminalLines(clock)
    assert terminal.feed(b"plain\npart") == ["plain"]
    assert terminal.current == "part"
    assert terminal.feed(b"ly\n\r10%") == ["partly"]
    assert terminal.feed(b"\r100%\nafter\n") == []
    clock.now = 0.5
    assert terminal.feed() == []
    clock.now = 2.0
    assert terminal.feed() == ["100%", "after"]
    assert terminal.close() == []


@given(
    st.lists(st.sampled_from(PARTS)),
    st.lists(st.integers(0, 200)),
)
def test_no_control_character_is_left_and_where_the_bytes_are_cut_does_not_matter(
    parts: list[bytes], cuts: list[int]
) -> None:
    content = b"".join(parts)
    lines = lines_of(content)
    assert all(character.isprintable() or character in "\t\ufffd" for line in lines for character in line)
    assert lines_of(content, *cuts) == lines
