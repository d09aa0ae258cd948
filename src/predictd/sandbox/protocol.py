"""Read the frames of the runner; the channel is untrusted, so everything is checked.

A frame is a type byte, a big-endian u32 length and a payload. All types but the result hold a small JSON object.
"""

import json
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from predictd.domain.failures import FAILURES, fields_of
from predictd.domain.limits import MIB, max_prediction_bytes, max_rows
from predictd.domain.runs import Predictions
from predictd.runner.channel import USUAL_MODULES

STAGES = ("import", "unpickle", "read", "predict", "write")
# Failures that the runner may report; the server determines all others from evidence.
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
_RESULT_HEADER = struct.Struct(">cII")
_MAX_JSON_BYTES = 64 * 1024
_MAX_FRAMES = 64
_BYTES_PER_ROW = 12  # a u32 length and a float64


class FrameError(Exception):
    """The bytes are not valid frames of a runner; the message is the reason."""


class ResultTooLargeError(Exception):
    """A result exceeds a limit; the message is the limit."""


@dataclass(frozen=True, kw_only=True)
class ResultLimits:
    """Limits on the size of the output of a run.

    Attributes:
        expected: number of rows of its data, each of which needs a prediction.
        output_bytes: limit on the predictions and on the compiled tables.
    """

    expected: int
    output_bytes: int

    @property
    def rows(self) -> int:
        """Return the maximum number of predictions."""
        return max_rows(self.expected)

    @property
    def result_bytes(self) -> int:
        """Return the maximum number of bytes of all predictions."""
        return min(self.output_bytes, max_prediction_bytes(self.rows) + self.rows * _BYTES_PER_ROW)

    def check_result(self, size: int, rows: int = 0) -> None:
        """Raise ResultTooLargeError if a result has too many bytes or rows."""
        if size > self.output_bytes:
            raise ResultTooLargeError(f"{self.output_bytes / MIB:.0f} MiB of predictions")
        if size > self.result_bytes or rows > self.rows:
            raise ResultTooLargeError(f"{self.rows} predictions for data of {self.expected} rows")

    def check_tables(self, size: int) -> None:
        """Raise ResultTooLargeError if the tables have too many bytes."""
        if size > self.output_bytes:
            raise ResultTooLargeError(f"{self.output_bytes / MIB:.0f} MiB of compiled trees")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage starts; it is the one after the previous stage in STAGES."""

    name: str


@dataclass(frozen=True, kw_only=True)
class PickleVersions:
    """The versions that the pickle was created with, determined from its bytes.

    Attributes:
        pythons: versions of Python that can have compiled its functions, empty if unknown.
        packages: package -> (version in the pickle, version in the runtime), where they differ.
    """

    pythons: tuple[str, ...]
    packages: dict[str, tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class ReportedFailure:
    """The runner reports why there is no result.

    Attributes:
        code: one of REPORTABLE.
        detail: detail of the failure, for its message.
        packages: versions of the packages in whose code it happened.
        cause: one of the causes of that code, None if unknown.
        facts: the fields of the remedy of the cause.
    """

    code: str
    detail: str
    packages: dict[str, str] = field(default_factory=dict)
    cause: str | None = None
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ReportedPlatformFailure:
    """The runner reports that the runtime is broken; sent before anything of the user's is loaded."""

    detail: str


@dataclass(frozen=True, kw_only=True)
class Modules:
    """The modules among USUAL_MODULES that the model imported."""

    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Compiled tables of the model's trees; only read in a sandbox with the same pickle.

    Attributes:
        file: a named temporary file, positioned at its end.
    """

    file: IO[bytes]


@dataclass(frozen=True, kw_only=True)
class Result:
    """The predictions, checked for structure only."""

    predictions: Predictions


Frame = Stage | PickleVersions | ReportedFailure | ReportedPlatformFailure | Modules | Tables | Result


class FrameReader:
    """Parses frames incrementally; buffers at most one incomplete frame, within `limits`.

    Tables are written to a file as they arrive, because they may be large.
    """

    def __init__(self, limits: ResultLimits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._tables: IO[bytes] | None = None
        self._tables_left = 0
        self._count = 0
        self._stage = -1
        self._ended = False

    @property
    def is_between_frames(self) -> bool:
        """Return whether no part of another frame has arrived."""
        return not self._buffer and self._tables is None

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that `data` completes, each before the next is parsed.

        Raises:
            FrameError: The bytes are not valid frames of a runner.
            ResultTooLargeError: The header of a result exceeds the limit.
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
            self._check_header(kind, length)
            if kind == b"T":
                self._start_tables(length)
                continue
            if len(self._buffer) < 5 + length:
                break
            payload = bytes(memoryview(self._buffer)[5 : 5 + length])
            del self._buffer[: 5 + length]
            yield self._decode(kind, payload)

    def _start_tables(self, length: int) -> None:
        if self._stage != len(STAGES) - 1:
            raise FrameError("tables out of order")
        self._count += 1
        del self._buffer[:5]
        self._tables, self._tables_left = tempfile.NamedTemporaryFile(prefix="predictd-tables-"), length  # noqa: SIM115

    def _take_tables(self, file: IO[bytes]) -> Tables | None:
        """Write the received part of the tables; return them when they are complete, else None."""
        part = self._buffer[: self._tables_left]
        file.write(part)
        del self._buffer[: len(part)]
        self._tables_left -= len(part)
        if self._tables_left:
            return None
        file.flush()
        self._tables = None
        return Tables(file=file)

    def _check_header(self, kind: bytes, length: int) -> None:
        if kind not in b"SVFPMTR":
            raise FrameError("a frame of unknown type")
        if self._ended:
            raise FrameError("more after the result")
        if self._count >= _MAX_FRAMES:
            raise FrameError("too many frames")
        if kind == b"R":
            has_count = len(self._buffer) >= _RESULT_HEADER.size
            self._limits.check_result(length, _RESULT_HEADER.unpack_from(self._buffer)[2] if has_count else 0)
        if kind == b"T":
            self._limits.check_tables(length)
        if kind not in b"RT" and length > _MAX_JSON_BYTES:
            raise FrameError("a frame longer than its type allows")

    def _decode(self, kind: bytes, payload: bytes) -> Frame:
        self._count += 1
        if kind == b"R":
            if self._stage != len(STAGES) - 1:
                raise FrameError("a result out of order")
            self._ended = True
            return Result(predictions=read_predictions(payload, self._limits))
        content = _json(payload)
        decoders: dict[bytes, Callable[[dict[str, Any]], Frame]] = {
            b"S": self._decode_stage,
            b"V": _versions,
            b"M": _modules,
        }
        if kind in decoders:
            return decoders[kind](content)
        detail = content.get("detail")
        if not isinstance(detail, str):
            raise FrameError("a failure without detail")
        self._ended = True
        if kind == b"P":
            if self._stage > 0:
                raise FrameError("a failure of the platform after the model started")
            return ReportedPlatformFailure(detail=detail)
        code = content.get("code")
        if not isinstance(code, str) or code not in REPORTABLE or self._stage < 1:
            raise FrameError("a failure that a runner can't report")
        packages = content.get("packages", {})
        if not isinstance(packages, dict) or not all(map(_is_short, (*packages, *packages.values()))):
            raise FrameError("an invalid list of packages")
        cause, facts = _cause(code, content)
        return ReportedFailure(code=code, detail=detail, packages=packages, cause=cause, facts=facts)

    def _decode_stage(self, content: dict[str, Any]) -> Stage:
        name = content.get("stage")
        if name not in STAGES or STAGES.index(name) != self._stage + 1:
            raise FrameError("a stage out of order")
        self._stage += 1
        return Stage(name=name)


def _cause(code: str, content: dict[str, Any]) -> tuple[str | None, dict[str, str]]:
    cause, facts = content.get("cause"), content.get("facts", {})
    failure = FAILURES[code]
    if cause is not None and (not isinstance(cause, str) or cause not in failure.causes):
        raise FrameError("a cause that the failure can't have")
    expected = set() if cause is None else fields_of(failure.causes[cause])
    if not isinstance(facts, dict) or facts.keys() != expected or not all(map(_is_short, facts.values())):
        raise FrameError("facts that don't match the cause")
    return cause, facts


def _json(payload: bytes) -> dict[str, Any]:
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):
        raise FrameError("a frame that is not JSON") from None
    if not isinstance(content, dict):
        raise FrameError("a frame that is not an object")
    return content


def _modules(content: dict[str, Any]) -> Modules:
    names = content.get("modules")
    if not isinstance(names, list) or not set(map(str, names)) <= set(USUAL_MODULES):
        raise FrameError("an invalid list of modules")
    return Modules(names=tuple(name for name in USUAL_MODULES if name in names))


def _versions(content: dict[str, Any]) -> PickleVersions:
    pythons, packages = content.get("pythons"), content.get("packages")
    if not isinstance(pythons, list) or len(pythons) > 20:
        raise FrameError("an invalid list of Python versions")
    if not all(_is_short(version) and version.replace(".", "").isdecimal() for version in pythons):
        raise FrameError("an invalid list of Python versions")
    if not isinstance(packages, dict) or not all(
        isinstance(pair, list) and len(pair) == 2 for pair in packages.values()
    ):
        raise FrameError("an invalid list of packages")
    if not all(_is_short(text) for name, pair in packages.items() for text in (name, *pair)):
        raise FrameError("an invalid list of packages")
    return PickleVersions(
        pythons=tuple(pythons), packages={name: (pair[0], pair[1]) for name, pair in packages.items()}
    )


def _is_short(text: object) -> bool:
    return isinstance(text, str) and len(text) <= 100


def read_predictions(payload: bytes, limits: ResultLimits) -> Predictions:
    """Return the ids and values in the payload of a result. Raises FrameError and ResultTooLargeError."""
    import numpy as np  # noqa: PLC0415 (the client side works without NumPy up to here)

    if len(payload) < 4:
        raise FrameError("a result without a count")
    (count,) = struct.unpack_from(">I", payload)
    if count * _BYTES_PER_ROW > len(payload) - 4:
        raise FrameError("a result shorter than its count")
    limits.check_result(len(payload), count)
    ends = np.frombuffer(payload, dtype=">u4", count=count, offset=4).astype(np.int64).cumsum()
    texts_at = 4 + 4 * count
    values_at = texts_at + (int(ends[-1]) if count else 0)
    if values_at + 8 * count != len(payload):
        raise FrameError("a result whose lengths do not add up")
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
        raise FrameError("ids that are not UTF-8") from None
