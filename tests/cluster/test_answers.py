"""What a node brings back is read as the word of a stranger."""

import io
import json
import struct
import tempfile
from typing import IO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictd.cluster.job_result import MAGIC, max_result_bytes, read_result, write_result
from predictd.cluster.job_spec import JobSpec, runtime_of
from predictd.domain.errors import PlatformError
from predictd.domain.failures import ModelFailure
from predictd.domain.runs import Predictions, RunReport
from predictd.sandbox.protocol import ResultLimits


def file_of(tables: bytes) -> IO[bytes]:
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115
    file.write(tables)
    file.flush()
    return file


LIMITS = ResultLimits(expected=1000, output_bytes=100_000)
STAGES = {"import": 0.5, "unpickle": 0.1, "read": 0.2, "predict": 1.5, "write": 0.0}
ANSWERED = RunReport(
    predictions=Predictions(ids=["a", "bé", ""], values=np.array([0.25, np.nan, -np.inf])),
    stages=STAGES,
    peak_memory_bytes=123_456_789,
    tables=file_of(b"\x00tables"),
    imports=("lightgbm",),
)
FAILED = RunReport(
    failure=ModelFailure(code="exception", cause="target", facts={"detail": "KeyError: 'target'", "column": "target"}),
    stages={"import": 0.5, "unpickle": 0.1},
)


def facts_of(**changed: object) -> dict[str, object]:
    whole = {"failure": None, "stages": STAGES, "peak_memory_bytes": 1, "imports": [], "forked": False, "machine": None}
    return whole | changed


def failure_of(**changed: object) -> dict[str, object]:
    return {"code": "exception", "cause": None, "facts": {"detail": "x"}} | changed


def framed(facts: object, predictions: bytes = b"\x00\x00\x00\x00", tables: bytes = b"") -> bytes:
    text = json.dumps(facts).encode()
    return MAGIC + struct.pack(">IQQ", len(text), len(predictions), len(tables)) + text + predictions + tables


def read(content: bytes) -> RunReport:
    return read_result(io.BytesIO(content), LIMITS)


def tables_of(report: RunReport) -> bytes:
    assert report.tables is not None
    report.tables.seek(0)
    return report.tables.read()


def test_an_answer_is_what_it_was() -> None:
    report = read(write_result(ANSWERED))
    assert report.predictions is not None
    assert ANSWERED.predictions is not None
    assert report.predictions.ids == ANSWERED.predictions.ids
    np.testing.assert_array_equal(report.predictions.values, ANSWERED.predictions.values)
    assert (report.stages, report.peak_memory_bytes, tables_of(report), report.imports) == (
        STAGES,
        123_456_789,
        b"\x00tables",
        ("lightgbm",),
    )
    assert read(write_result(FAILED)) == FAILED


def test_the_facts_of_these_tests_are_whole() -> None:
    assert read(framed(facts_of(failure=failure_of()), b"")).failure is not None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x05K\x01.",
        write_result(ANSWERED)[:-1],
        write_result(ANSWERED) + b"x",
        framed(facts_of(failure=failure_of())),
        framed(facts_of(), predictions=b""),
        framed(facts_of(failure=failure_of(code="no such")), b""),
        framed(facts_of(failure=failure_of(code="missing_ids")), b""),
        framed(facts_of(failure=failure_of(facts={})), b""),
        framed(facts_of(failure=failure_of(facts={"detail": "x" * 3000})), b""),
        framed(facts_of(failure=failure_of(cause="no such")), b""),
        framed(facts_of(failure=failure_of(cause="name_in_main")), b""),
        framed(facts_of(failure=failure_of(cause="target")), b""),
        framed(facts_of(failure=failure_of(cause=["target"])), b""),
        framed(facts_of(failure=failure_of()), b"", b"tables"),
        framed(facts_of(stages={"import": "long"})),
        framed(facts_of(stages={"import": -1})),
        framed(facts_of(stages={"import": float("nan")})),
        framed(facts_of(stages={"another": 1})),
        framed(facts_of(peak_memory_bytes=-1)),
        framed(facts_of(peak_memory_bytes=1 << 60)),
        framed(facts_of(peak_memory_bytes=True)),
        framed(facts_of(imports=["os"])),
        framed(facts_of(more=1)),
        framed([]),
        framed(facts_of(), struct.pack(">I", 1 << 31)),
        framed(facts_of(), b"\x00" * 200_000),
        MAGIC + struct.pack(">IQQ", 1 << 30, 0, 0),
    ],
)
def test_what_is_no_answer_is_refused(content: bytes) -> None:
    with pytest.raises(PlatformError, match="result is invalid"):
        read(content)


@given(st.data())
def test_whatever_a_node_changes_is_refused_or_read_as_an_answer(data: st.DataObject) -> None:
    content = bytearray(write_result(ANSWERED))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        report = read(bytes(content))
    except PlatformError:
        return
    assert report.predictions is not None
    assert len(report.predictions.ids) == len(report.predictions.values)


def test_an_answer_has_room_for_what_a_run_may_bring() -> None:
    tables = RunReport(predictions=ANSWERED.predictions, stages=STAGES, tables=file_of(b"x" * LIMITS.output_bytes))
    assert len(write_result(tables)) <= max_result_bytes(LIMITS)
    assert tables_of(read(write_result(tables))) == b"x" * LIMITS.output_bytes


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"run_id": "../x"}', "\x80"])
def test_what_is_no_order_is_told_as_another_version(text: str) -> None:
    with pytest.raises(PlatformError, match="run the same version of predictd"):
        JobSpec.parse(text)


def test_a_runtime_is_known_by_its_folder() -> None:
    assert runtime_of("numerai_predict_py_3_12-0123456789ab") == ("3.12", "core", "0123456789ab")
    assert runtime_of("numerai_predict_py_3_10_my_own-0123456789ab") == ("3.10", "my_own", "0123456789ab")
    with pytest.raises(PlatformError):
        runtime_of("../numerai_predict_py_3_12-0123456789ab")
