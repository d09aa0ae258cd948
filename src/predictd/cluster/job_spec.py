"""What a server tells a node about one run: plain JSON, with URLs that are good for this run alone."""

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from predictd.domain.errors import PlatformError
from predictd.domain.limits import Limits

MOST_BYTES = 64 * 1024

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")]


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Item(_Plain):
    """One object to fetch: where, and what it must be then; `size` in bytes."""

    url: str
    sha256: Sha256
    size: Annotated[int, Field(ge=0)]


class Order(_Plain):
    """One attempt of one trigger.

    Attributes:
        runtime: folder name of the runtime, '<image>-<tag>'; the tag is the hash of its lock.
        lock: that lock, for a node that has not built the runtime.
        features: parquet; with `without_targets` it holds targets, which the model must not see.
        imports: modules that the model is known to import; None where it never ran, so that its bytes are to be asked.
        seed: what the model's random numbers start from.
        answer_url: where the answer is PUT, of at most `answer_bytes`.
        report_url: takes what the model prints and the signs of life, with `report_token`.
        beat_seconds: a sign of life is due so often.
        lease_seconds: after so long without an answer from the server the run is nobody's any more.
    """

    trigger_id: Name
    attempt: Annotated[int, Field(ge=1)]
    limits: Limits
    runtime: Name
    lock: Item
    pickle: Item
    features: Item
    benchmarks: Item | None
    tables: Item | None
    without_targets: bool
    imports: tuple[str, ...] | None
    proven: bool
    trees: bool
    keep_tables: bool
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    answer_url: str
    answer_bytes: int
    report_url: str
    report_token: str
    beat_seconds: float
    lease_seconds: float

    @classmethod
    def read(cls, text: str | bytes) -> "Order":
        """The order in the JSON.

        Raises:
            PlatformError: it is none, or one of another version of predictd.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise PlatformError(
                f"The node can't read the server's order ({where}: {first['msg']}); run the same version of predictd "
                "on the server and on all nodes."
            ) from error


_RUNTIME = re.compile(r"numerai_predict_py_(\d+)_(\d+)(?:_([a-z][a-z0-9_]*))?-([0-9a-f]{12})")


def runtime_of(folder: str) -> tuple[str, str, str]:
    """Python version, package set and tag of a runtime by the name of its folder. PlatformError where it is none."""
    found = _RUNTIME.fullmatch(folder)
    if found is None:
        raise PlatformError(f"{folder!r} is no name of a runtime.")
    major, minor, packages, tag = found.groups()
    return f"{major}.{minor}", packages or "core", tag
