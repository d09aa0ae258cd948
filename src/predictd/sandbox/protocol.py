"""What the runner says on its pipe, read as the word of a stranger: everything is checked, nothing is believed.

A frame is a type byte, a big-endian u32 length and a payload. All types but the result hold a small JSON object.
"""

import json
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from predictd.domain.failures import FAILURES, fields_of
from predictd.domain.limits import MIB, most_prediction_bytes, most_rows
from predictd.domain.runs import Predictions
from predictd.runner.channel import USUAL_MODULES

STAGES = ("import", "unpickle", "read", "predict", "write")
# The failures that the runner may report; all others are for the parent to tell from evidence.
REPORTABLE = frozenset(
    {
        "not_a_pickle",
        "truncated_pickle",
        "import_error",
        "unpickle_error",
        "not_callable",
        "bad_signature",
        "exception",
        "network_access",
        "exited",
        "not_a_dataframe",
        "not_numeric",
        "empty_predictions",
        "out_of_memory",
        "output_too_large",
    }
)
_RESULT_HEAD = struct.Struct(">cII")
_SMALL = 64 * 1024
_MOST_FRAMES = 64
_BYTES_PER_ROW = 12  # a u32 length and a float64


class BadFrame(Exception):
    """The bytes are not what a runner sends; the message says why."""


class TooLarge(Exception):
    """A result exceeds a limit; the message names the limit."""


@dataclass(frozen=True, kw_only=True)
class AnswerLimits:
    """How large what comes back of a run may be.

    Attributes:
        expected: rows of its data, each of which needs a prediction.
        output_bytes: of the predictions, and of the compiled tables; the limit of any run.
    """

    expected: int
    output_bytes: int

    @property
    def rows(self) -> int:
        """Predictions at most."""
        return most_rows(self.expected)

    @property
    def result_bytes(self) -> int:
        """Bytes of all predictions at most."""
        return min(self.output_bytes, most_prediction_bytes(self.rows) + self.rows * _BYTES_PER_ROW)

    def check_result(self, size: int, rows: int = 0) -> None:
        """Raise TooLarge for a result of more bytes or rows than the limits."""
        if size > self.output_bytes:
            raise TooLarge(f"{self.output_bytes / MIB:.0f} MiB of predictions")
        if size > self.result_bytes or rows > self.rows:
            raise TooLarge(f"{self.rows} predictions for data of {self.expected} rows")

    def check_tables(self, size: int) -> None:
        """Raise TooLarge for tables of more bytes than the limit."""
        if size > self.output_bytes:
            raise TooLarge(f"{self.output_bytes / MIB:.0f} MiB of compiled trees")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage begins: one of STAGES, later than the one before it."""

    name: str


@dataclass(frozen=True, kw_only=True)
class PickleVersions:
    """What made the pickle, judged by its bytes.

    Attributes:
        pythons: versions of Python that can have made its functions, empty when there is no telling.
        packages: package -> (version in the pickle, version in the runtime), where they differ.
    """

    pythons: tuple[str, ...]
    packages: dict[str, tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class ReportedFailure:
    """The runner says why there will be no result.

    Attributes:
        code: one of REPORTABLE.
        detail: fills the sentence of that code.
        packages: packages of the runtime in whose code it happened, with their versions.
        cause: one of the causes of that code, None where it is unknown.
        facts: exactly those that the remedy of the cause is filled with.
    """

    code: str
    detail: str
    packages: dict[str, str] = field(default_factory=dict)
    cause: str | None = None
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PlatformTrouble:
    """The runtime is broken; said before anything of the user's was loaded."""

    detail: str


@dataclass(frozen=True, kw_only=True)
class Modules:
    """Which modules of those that a warm parent may have ready the model imported."""

    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Compiled tables of the model's trees; nobody looks into them but a sandbox with the same pickle.

    Attributes:
        file: a named temporary file, at its end.
    """

    file: IO[bytes]


@dataclass(frozen=True, kw_only=True)
class Result:
    """The answer, structurally whole."""

    predictions: Predictions


Frame = Stage | PickleVersions | ReportedFailure | PlatformTrouble | Modules | Tables | Result


class FrameReader:
    """Takes bytes as they come and gives frames; keeps at most one unfinished frame, within `limits`.

    Tables go into a file as they come, because they may be large.
    """

    def __init__(self, limits: AnswerLimits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._tables: IO[bytes] | None = None
        self._tables_left = 0
        self._count = 0
        self._stage = -1
        self._ended = False

    @property
    def is_between_frames(self) -> bool:
        """Whether no part of a further frame has arrived."""
        return not self._buffer and self._tables is None

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes, each before the next is looked at.

        Raises:
            BadFrame: the bytes can't be frames of a runner.
            TooLarge: a result is announced that exceeds the limit.
        """
        self._buffer += data
        while self._tables is not None or len(self._buffer) >= 5:
            if self._tables is not None:
                tables = self._take_tables(self._tables)
                if tables is None:
                    break
                yield tables
                continue
            kind, length = struct.unpack_from(">cI", self._buffer)
            self._check_head(kind, length)
            if kind == b"T":
                self._begin_tables(length)
                continue
            if len(self._buffer) < 5 + length:
                break
            payload = bytes(memoryview(self._buffer)[5 : 5 + length])
            del self._buffer[: 5 + length]
            yield self._decode(kind, payload)

    def _begin_tables(self, length: int) -> None:
        if self._stage != len(STAGES) - 1:
            raise BadFrame("tables out of turn")
        self._count += 1
        del self._buffer[:5]
        self._tables, self._tables_left = tempfile.NamedTemporaryFile(prefix="predictd-tables-"), length  # noqa: SIM115

    def _take_tables(self, file: IO[bytes]) -> Tables | None:
        """What has arrived of them; None while there is more to come."""
        part = self._buffer[: self._tables_left]
        file.write(part)
        del self._buffer[: len(part)]
        self._tables_left -= len(part)
        if self._tables_left:
            return None
        file.flush()
        self._tables = None
        return Tables(file=file)

    def _check_head(self, kind: bytes, length: int) -> None:
        if kind not in b"SVFPMTR":
            raise BadFrame("a frame of unknown type")
        if self._ended:
            raise BadFrame("more after the answer")
        if self._count >= _MOST_FRAMES:
            raise BadFrame("too many frames")
        if kind == b"R":
            is_counted = len(self._buffer) >= _RESULT_HEAD.size
            self._limits.check_result(length, _RESULT_HEAD.unpack_from(self._buffer)[2] if is_counted else 0)
        if kind == b"T":
            self._limits.check_tables(length)
        if kind not in b"RT" and length > _SMALL:
            raise BadFrame("a frame longer than its type allows")

    def _decode(self, kind: bytes, payload: bytes) -> Frame:
        self._count += 1
        if kind == b"R":
            if self._stage != len(STAGES) - 1:
                raise BadFrame("a result out of turn")
            self._ended = True
            return Result(predictions=read_predictions(payload, self._limits))
        content = _json(payload)
        simple: dict[bytes, Callable[[dict[str, Any]], Frame]] = {
            b"S": self._decode_stage,
            b"V": _versions,
            b"M": _modules,
        }
        if kind in simple:
            return simple[kind](content)
        detail = content.get("detail")
        if not isinstance(detail, str):
            raise BadFrame("a report without detail")
        self._ended = True
        if kind == b"P":
            if self._stage > 0:
                raise BadFrame("a report of the platform from the model")
            return PlatformTrouble(detail=detail)
        code = content.get("code")
        if not isinstance(code, str) or code not in REPORTABLE or self._stage < 1:
            raise BadFrame("a report of a failure that is not for the runner to report")
        packages = content.get("packages", {})
        if not isinstance(packages, dict) or not all(map(_is_short, (*packages, *packages.values()))):
            raise BadFrame("a list of packages that is none")
        cause, facts = _cause(code, content)
        return ReportedFailure(code=code, detail=detail, packages=packages, cause=cause, facts=facts)

    def _decode_stage(self, content: dict[str, Any]) -> Stage:
        name = content.get("stage")
        if name not in STAGES or STAGES.index(name) != self._stage + 1:
            raise BadFrame("a stage out of turn")
        self._stage += 1
        return Stage(name=name)


def _cause(code: str, content: dict[str, Any]) -> tuple[str | None, dict[str, str]]:
    cause, facts = content.get("cause"), content.get("facts", {})
    failure = FAILURES[code]
    if cause is not None and (not isinstance(cause, str) or cause not in failure.causes):
        raise BadFrame("a cause that the failure can't have")
    expected = set() if cause is None else fields_of(failure.causes[cause])
    if not isinstance(facts, dict) or facts.keys() != expected or not all(map(_is_short, facts.values())):
        raise BadFrame("facts that are not those of the cause")
    return cause, facts


def _json(payload: bytes) -> dict[str, Any]:
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):
        raise BadFrame("a frame that is not JSON") from None
    if not isinstance(content, dict):
        raise BadFrame("a frame that is not an object")
    return content


def _modules(content: dict[str, Any]) -> Modules:
    names = content.get("modules")
    if not isinstance(names, list) or not set(map(str, names)) <= set(USUAL_MODULES):
        raise BadFrame("a list of modules that is none")
    return Modules(names=tuple(name for name in USUAL_MODULES if name in names))


def _versions(content: dict[str, Any]) -> PickleVersions:
    pythons, packages = content.get("pythons"), content.get("packages")
    if not isinstance(pythons, list) or len(pythons) > 20:
        raise BadFrame("a list of Pythons that is none")
    if not all(_is_short(version) and version.replace(".", "").isdecimal() for version in pythons):
        raise BadFrame("a list of Pythons that is none")
    if not isinstance(packages, dict) or not all(
        isinstance(pair, list) and len(pair) == 2 for pair in packages.values()
    ):
        raise BadFrame("a list of packages that is none")
    if not all(_is_short(one) for name, pair in packages.items() for one in (name, *pair)):
        raise BadFrame("a list of packages that is none")
    return PickleVersions(
        pythons=tuple(pythons), packages={name: (pair[0], pair[1]) for name, pair in packages.items()}
    )


def _is_short(text: object) -> bool:
    return isinstance(text, str) and len(text) <= 100


def read_predictions(payload: bytes, limits: AnswerLimits) -> Predictions:
    """The ids and values in the payload of a result. Raises BadFrame and TooLarge."""
    import numpy as np  # noqa: PLC0415 (the data scientist's side works without it up to here)

    if len(payload) < 4:
        raise BadFrame("a result without a count")
    (count,) = struct.unpack_from(">I", payload)
    if count * _BYTES_PER_ROW > len(payload) - 4:
        raise BadFrame("a result shorter than its count")
    limits.check_result(len(payload), count)
    ends = np.frombuffer(payload, dtype=">u4", count=count, offset=4).astype(np.int64).cumsum()
    texts_at = 4 + 4 * count
    values_at = texts_at + (int(ends[-1]) if count else 0)
    if values_at + 8 * count != len(payload):
        raise BadFrame("a result whose lengths do not add up")
    values = np.frombuffer(payload, dtype="<f8", count=count, offset=values_at).astype(np.float64)
    return Predictions(ids=_texts(payload[texts_at:values_at], ends.tolist()), values=values)


def _texts(blob: bytes, ends: list[int]) -> list[str]:
    starts = [0, *ends[:-1]]
    try:
        if blob.isascii():
            text = blob.decode("ascii")
            return [text[start:end] for start, end in zip(starts, ends, strict=True)] if ends else []
        return [blob[start:end].decode("utf-8") for start, end in zip(starts, ends, strict=True)]
    except UnicodeDecodeError:
        raise BadFrame("ids that are not UTF-8") from None
