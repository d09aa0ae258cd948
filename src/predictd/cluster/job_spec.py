"""The spec of a job, sent to a node as JSON with URLs that are valid for this run only."""

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from predictd.domain.errors import PlatformError
from predictd.domain.limits import Limits

MAX_SPEC_BYTES = 64 * 1024

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")]


class _FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ObjectRef(_FrozenModel):
    """An object to fetch, with its hash and its size in bytes."""

    url: str
    sha256: Sha256
    size: Annotated[int, Field(ge=0)]


class JobSpec(_FrozenModel):
    """One attempt of a run.

    Attributes:
        runtime: folder name of the runtime, '<image>-<tag>'; the tag is the hash of its lock.
        lock: the lock, for a node that has not built the runtime.
        features: parquet; with `without_targets` it has targets, which the model must not see.
        imports: modules that the model imports; None if it has not run yet, then they are guessed from its bytes.
        seed: seed of the model's random numbers.
        result_url: URL to PUT the result to, of at most `max_result_bytes`.
        report_url: URL for the output of the model and heartbeats, with `report_token`.
        heartbeat_seconds: interval of heartbeats.
        lease_seconds: the node loses the run after this time without a response of the server.
    """

    run_id: Name
    attempt: Annotated[int, Field(ge=1)]
    limits: Limits
    runtime: Name
    lock: ObjectRef
    pickle: ObjectRef
    features: ObjectRef
    benchmarks: ObjectRef | None
    tables: ObjectRef | None
    without_targets: bool
    imports: tuple[str, ...] | None
    proven: bool
    trees: bool
    keep_tables: bool
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    result_url: str
    max_result_bytes: int
    report_url: str
    report_token: str
    heartbeat_seconds: float
    lease_seconds: float

    @classmethod
    def parse(cls, text: str | bytes) -> "JobSpec":
        """Parse the JSON of a spec.

        Raises:
            PlatformError: It is invalid, or of another version of predictd.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise PlatformError(
                f"The node can't read the server's job spec ({where}: {first['msg']}); run the same version of "
                "predictd on the server and on all nodes."
            ) from error


_RUNTIME_FOLDER = re.compile(r"numerai_predict_py_(\d+)_(\d+)(?:_([a-z][a-z0-9_]*))?-([0-9a-f]{12})")


def runtime_of(folder: str) -> tuple[str, str, str]:
    """Return Python version, package set and tag of a runtime folder. Raises PlatformError if the name is invalid."""
    match = _RUNTIME_FOLDER.fullmatch(folder)
    if match is None:
        raise PlatformError(f"{folder!r} is not the name of a runtime.")
    major, minor, packages, tag = match.groups()
    return f"{major}.{minor}", packages or "core", tag
