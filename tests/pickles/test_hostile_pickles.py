"""Whatever a file holds, inspection ends soon, says something, and runs nothing of it."""

import io
import os
import pickle
import queue
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import cloudpickle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pickles import broken
from predictd.domain.errors import InvalidInputError
from predictd.pickles.compatibility import certain_failures
from predictd.pickles.formatting import Finding, Level
from predictd.pickles.inspection import Inspection, inspect_pickle
from predictd.pickles.runtime_target import target_of_spec
from predictd.pickles.static_checks import check_inspected
from predictd.runtimes import SPECS

TARGET = target_of_spec(SPECS["3.12"])
FORBIDDEN = {
    "pickle.find_class",
    "os.system",
    "subprocess.Popen",
    "socket.connect",
    "exec",
    "os.remove",
    "shutil.rmtree",
}


class Watch:
    """What Python did since it was told to look."""

    looking = False
    seen: ClassVar[list[str]] = []

    @classmethod
    def see(cls, event: str, arguments: Any) -> None:
        if cls.looking and event in FORBIDDEN:
            cls.seen.append(f"{event} {arguments}")


sys.addaudithook(Watch.see)


@contextmanager
def nothing_runs() -> Iterator[None]:
    Watch.seen.clear()
    Watch.looking = True
    try:
        yield
    finally:
        Watch.looking = False
    assert Watch.seen == []


class Runs:
    """Unpickling it runs a command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        import os

        return os.system, (f"touch {self.path}",)


def samples() -> list[bytes]:
    captured = {"weights": [1.5] * 30, "features": [f"feature_a_b_{number}" for number in "xyz"], 3: {"set", "of"}}

    class Model:
        def __call__(self, live_features, live_benchmark_models=None):
            try:
                import my_module as mine
            except ImportError:
                mine = None
            return [mine, live_features["era"], *captured["weights"]]

    plain = [pickle.dumps([captured, b"bytes", 2**70, None, 1.5, (True, ())], protocol) for protocol in range(6)]
    return [cloudpickle.dumps(Model()), cloudpickle.dumps(Model().__call__), broken.make_gpu_tensor(), *plain]


SAMPLES = samples()
# What is imported the first time is not the file's doing.
for sample in SAMPLES:
    check_inspected(inspect_pickle(sample), TARGET)


def look_at(content: bytes) -> Inspection:
    with nothing_runs():
        inspection = inspect_pickle(content, seconds=5)
        check_inspected(inspection, TARGET)
        certain_failures(inspection, TARGET)
    return inspection


@given(st.binary(max_size=300))
def test_any_bytes_are_answered(content: bytes) -> None:
    look_at(content)


OPCODES = b"()}]{[tRbeauosh0\x8f\x90\x91\x93\x94\x85\x86\x87\x88N2."


@given(st.lists(st.sampled_from([bytes([opcode]) for opcode in OPCODES])))
def test_any_opcodes_are_answered(opcodes: list[bytes]) -> None:
    look_at(b"\x80\x05" + b"".join(opcodes))


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=150)
@given(st.data())
def test_damaged_pickles_are_answered(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        piece = data.draw(st.sampled_from(SAMPLES))[data.draw(st.integers(0, 300)) :][: data.draw(st.integers(1, 60))]
        instead = data.draw(st.one_of(st.binary(max_size=2), st.sampled_from([piece, OPCODES[place % 30 :][:3]])))
        content[place : place + data.draw(st.integers(0, 60))] = instead or b"N"
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(content))))
    look_at(bytes(content[:cut]))


def test_a_command_in_a_pickle_is_told_and_not_run(tmp_path: Path) -> None:
    content = pickle.dumps(Runs(tmp_path / "ran"))
    inspection = look_at(content)
    assert not (tmp_path / "ran").exists()
    assert {(one.module, one.names) for one in inspection.imports} == {("posix", ("system",))}


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x05" + b"]" * 3_000_000 + b".",
        b"\x80\x05" + b"(" * 3_000_000 + b".",
        b"\x80\x05]" + b"\x94h\x00\x86" * 200_000 + b".",
        b"\x80\x05)" + b"2\x86" * 100_000 + b".",
        b"\x80\x05" + b"]" * 200_000 + b"a" * 199_999 + b".",
        b"\x80\x05" + b"N" + b"\x85" * 300_000 + b"}\x94" + b"N\x85s.",
        b"\x80\x05\x8e" + (2**62).to_bytes(8, "little") + b"abc",
        b"\x80\x05\x8b" + (2**31 - 1).to_bytes(4, "little") + b"abc",
        b"\x80\x05I" + b"9" * 100_000 + b"\n.",
        b"\x80\x05q\xff" * 10 + b".",
    ],
    ids=["deep", "marks", "itself", "doubled", "nested", "tuples", "huge", "huge number", "digits", "empty stack"],
)
def test_bombs_take_little_time(content: bytes) -> None:
    started = time.monotonic()
    look_at(content)
    assert time.monotonic() - started < 15


def test_reading_stops_in_time() -> None:
    started = time.monotonic()
    inspection = inspect_pickle(pickle.dumps(list(range(2_000_000))), seconds=0.3)
    assert time.monotonic() - started < 5
    assert not inspection.complete
    assert inspection.flaw is None
    assert [one.code for one in check_inspected(inspection, None) if one.level is Level.WARN] == ["partly_read"]
    assert certain_failures(inspection, TARGET) == []


def importing(modules: list[str]) -> bytes:
    """A pickle of a list of functions, one of each module."""
    texts = ((module.encode(), b"f") for module in modules)
    names = (b"".join(b"\x8c" + bytes([len(text)]) + text for text in pair) for pair in texts)
    return b"\x80\x04](" + b"".join(name + b"\x93" for name in names) + b"e."


@pytest.mark.parametrize("form", ["missing_{}", "missing_{}.inner", "numpy.missing_{}"])
def test_very_many_imports_take_little_time_and_few_lines(form: str, tmp_path: Path) -> None:
    for number in range(500):
        (tmp_path / f"package_{number}").mkdir()
    (tmp_path / "numpy").mkdir()
    target = replace(TARGET, folder=tmp_path)
    began = time.monotonic()
    inspection = inspect_pickle(importing([form.format(number) for number in range(20_000)]), seconds=5)
    assert certain_failures(inspection, target) == []
    findings = check_inspected(inspection, target)
    assert time.monotonic() - began < 20
    assert not inspection.complete
    assert sum(len(finding.sentence) + len(finding.fix) for finding in findings) < 20_000
    assert "partly_read" in {finding.code for finding in findings}


def test_of_many_findings_the_gravest_are_shown_and_the_rest_is_counted(tmp_path: Path) -> None:
    inspection = inspect_pickle(importing([f"missing_{number}" for number in range(900)]))
    found = [one for one in check_inspected(inspection, replace(TARGET, folder=tmp_path)) if one.topic == "imports"]
    assert len(found) == 21
    assert {one.level for one in found} == {Level.FAIL}
    assert found[-1].sentence == "And 880 more of these."


def test_a_function_that_does_very_much_takes_little_time() -> None:
    lines = "".join(f" import missing_{number}\n" for number in range(20_000))
    functions: dict[str, object] = {}
    exec(f"def predict(live_features):\n{lines} return live_features", functions)
    content = cloudpickle.dumps(functions["predict"])
    began = time.monotonic()
    inspection = inspect_pickle(content, seconds=5)
    assert time.monotonic() - began < 20
    assert not inspection.complete


def test_names_of_python_2_are_no_missing_modules() -> None:
    inspection = look_at(pickle.dumps([Exception, getattr, io.StringIO, queue.Queue], protocol=2))
    assert certain_failures(inspection, TARGET) == [
        Finding(
            topic="signature",
            code="not_callable",
            level=Level.FAIL,
            sentence="The pickle holds a list, which can't be called.",
            fix="Pickle a function predict(live_features, live_benchmark_models); predictd.wrap(model) creates one.",
        )
    ]
    assert all(TARGET.has(one.module) for one in inspection.imports)


def test_what_torch_saves_in_its_older_way_is_no_pickle_of_a_model() -> None:
    class Named(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return ("storage", "1", "cpu", 2) if obj == "weights" else None

    file = io.BytesIO()
    Named(file, 2).dump({"layer": "weights"})
    assert [one.code for one in certain_failures(look_at(file.getvalue()), TARGET)] == ["not_a_pickle"]


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"can't be read: Is a directory\. Give the path of a pickle\."):
        inspect_pickle(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInputError, match="it is not a file"):
        inspect_pickle(tmp_path / "pipe")
    with pytest.raises(InvalidInputError, match="No such file"):
        inspect_pickle(tmp_path / "none.pkl")
