"""A parser of untrusted files reads them and can do nothing else; whatever it does ends as a clear error."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd.domain.errors import InvalidInputError, OutageError
from predictd.parsing import ParserLimits, parse_confined
from predictd.parsing.packed_columns import columns_size, pack_columns, unpack_columns
from predictd.parsing.probe import exhaust, try_everything
from predictd.scoring import read_submission_file

MIB = 1 << 20
LIMITS = ParserLimits(memory_bytes=64 * MIB, result_bytes=MIB, seconds=30)


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    path = tmp_path / "upload.csv"
    path.write_text("id,prediction\n")
    return path


def test_a_parser_can_do_nothing_but_read(upload: Path) -> None:
    assert parse_confined(try_everything, [upload], LIMITS, {"server": os.getpid()}) == b""


@pytest.mark.parametrize(
    ("what", "seconds", "says"),
    [
        ("memory", 30, r"upload\.csv needs more than 64 MiB of memory to be read; write the file again"),
        ("time", 1, r"upload\.csv can't be read within 1 seconds"),
        ("processor", 1, r"upload\.csv can't be read within 1 seconds"),
        ("result", 30, r"upload\.csv can't be read: it unpacks to more than 1048576 bytes"),
        ("crash", 30, r"upload\.csv can't be read: its content is damaged"),
    ],
)
def test_a_file_that_uses_a_limit_up_is_refused_with_the_limit(
    upload: Path, what: str, seconds: float, says: str
) -> None:
    limits = ParserLimits(memory_bytes=64 * MIB, result_bytes=MIB, seconds=seconds)
    with pytest.raises(InvalidInputError, match=says):
        parse_confined(exhaust, [upload], limits, {"what": what})


def test_a_message_that_quotes_the_file_can_be_stored(upload: Path) -> None:
    upload.write_bytes(b"id,\x00\x1b[31m\n")
    with pytest.raises(InvalidInputError, match="The header must be") as refused:
        read_submission_file(upload, max_rows=10)
    assert refused.value.message.isprintable()


def test_a_parser_that_is_killed_from_outside_is_no_fault_of_the_file(upload: Path) -> None:
    parse_confined(try_everything, [upload], LIMITS, {"server": os.getpid()})
    before = {pid for server in _children(os.getpid()) for pid in _children(server)}
    with ThreadPoolExecutor(1) as thread:
        parsing = thread.submit(parse_confined, exhaust, [upload], LIMITS, {"what": "time"})
        deadline = time.monotonic() + 20
        while not (parsers := _parsers(before)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(parsers[0], signal.SIGKILL)
        with pytest.raises(OutageError, match=r"exit code -9\); try again"):
            parsing.result()


def test_parsers_go_on_after_their_server_was_killed_and_end_with_this_process(upload: Path) -> None:
    program = f"""
import os, signal, subprocess, sys, time
from pathlib import Path
from predictd.parsing import ParserLimits, parse_confined
from predictd.parsing.probe import try_everything, exhaust
limits = ParserLimits(memory_bytes=64 << 20, result_bytes=1000, seconds=300)
def parse(): assert parse_confined(try_everything, [Path({str(upload)!r})], limits, {{"server": os.getpid()}}) == b""
parse()
[server] = Path(f"/proc/self/task/{{os.getpid()}}/children").read_text().split()
os.kill(int(server), signal.SIGKILL)
time.sleep(0.5)
parse()
[server] = Path(f"/proc/self/task/{{os.getpid()}}/children").read_text().split()
print(server, flush=True)
parse_confined(exhaust, [Path({str(upload)!r})], limits, {{"what": "time"}})
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        server = int(process.stdout.readline())
        deadline = time.monotonic() + 60
        while not (below := _children(server)) or not _children(below[0]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        [parser] = _children(below[0])
        process.send_signal(signal.SIGKILL)
    while any(Path(f"/proc/{pid}").exists() for pid in (server, parser)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_many_threads_parse_at_once(upload: Path) -> None:
    def parse(_: int) -> bytes:
        return parse_confined(try_everything, [upload], LIMITS, {"server": os.getpid()})

    with ThreadPoolExecutor(12) as threads:
        assert list(threads.map(parse, range(24))) == [b""] * 24


@settings(deadline=None)
@given(rows=st.lists(st.tuples(st.text(max_size=20), st.floats(allow_nan=False)), max_size=50), cut=st.integers(0, 10))
def test_columns_arrive_as_they_were_packed(rows: list[tuple[str, float]], cut: int) -> None:
    ids, values = pa.array([row[0] for row in rows], pa.string()), np.array([row[1] for row in rows])
    content = b"".join(pack_columns(ids[cut:], values[cut:]))
    assert len(content) <= columns_size(len(rows), ids.nbytes)
    read, numbers = unpack_columns(content, max_rows=50)
    assert read.to_pylist() == ids[cut:].to_pylist()
    assert numbers.tolist() == values[cut:].tolist()


@settings(deadline=None)
@given(content=st.binary(max_size=300), at=st.integers(0, 60))
def test_whatever_a_parser_sends_is_columns_or_refused(content: bytes, at: int) -> None:
    good = b"".join(pack_columns(pa.array(["a", "bé", ""]), np.array([0.1, 0.2, 0.3])))
    for changed in (content, good[:at] + content + good[at + len(content) :]):
        try:
            ids, values = unpack_columns(changed, max_rows=5)
        except InvalidInputError:
            continue
        assert len(ids.to_pylist()) == len(values) <= 5


def _parsers(before: set[int]) -> list[int]:
    """Parsers of this process whose supervisors are new."""
    supervisors = {pid for server in _children(os.getpid()) for pid in _children(server)} - before
    return [pid for supervisor in supervisors for pid in _children(supervisor)]


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        tasks = [task / "children" for task in Path(f"/proc/{pid}/task").iterdir()]
        return [int(child) for children in tasks for child in children.read_text().split()]
    return []
