"""A log that is asked for again and again gives each line once."""

from predictd.client import LogLine
from predictd.client.follow import new_lines


def lines(*messages: str) -> list[LogLine]:
    return [LogLine(timestamp=0, message=message) for message in messages]


CUT = "[predictd] 12 bytes of earlier output were cut; the newest are kept."
CUT_MORE = CUT.replace("12", "99")


def test_only_what_is_new_is_told() -> None:
    assert new_lines([], lines("a", "b")) == lines("a", "b")
    assert new_lines(lines("a", "b"), lines("a", "b")) == []
    assert new_lines(lines("a", "a"), lines("a", "a", "a")) == lines("a")


def test_a_log_whose_beginning_was_cut_goes_on_where_it_was() -> None:
    assert new_lines(lines("a", "b", "c"), lines(CUT, "b", "c", "d")) == lines("d")
    assert new_lines(lines(CUT, "b", "c"), lines(CUT_MORE, "c", "d")) == lines("d")
    assert new_lines(lines("a", "b"), lines(CUT, "x", "y")) == lines(CUT, "x", "y")
