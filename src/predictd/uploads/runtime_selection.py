"""Inspection of uploaded pickles, and the choice of a runtime for them."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import BoundedSemaphore

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from predictd.db.catalog import list_runtimes
from predictd.db.models import Account, Runtime, Upload
from predictd.domain.errors import BusyError, PredictdError
from predictd.domain.failures import ModelFailure
from predictd.pickles import Finding, Inspection, Target, certain_failures, inspect_pickle, target_of_built
from predictd.pickles.compatibility import missing_in
from predictd.runtimes import load
from predictd.storage import Storage
from predictd.uploads.incoming import UploadKind, uploaded_key

log = structlog.get_logger()

# A request waits for the inspection; the run finds what it misses.
_MAX_SECONDS = 5.0
# So many objects take 40 MB; a forest of 2,000 trees has about 60,000.
_MAX_OBJECTS = 100_000
_SLOTS = BoundedSemaphore(4)


def inspect_upload(session: Session, storage: Storage, account: Account, filename: str) -> Inspection | None:
    """Return the inspection of an uploaded pickle; None if there is no upload, or if it can't be inspected.

    Raises:
        BusyError: too many other pickles are being inspected.
    """
    upload = session.scalar(select(Upload).where(Upload.filename == filename))
    if upload is None or upload.account_id != account.id or upload.kind != UploadKind.PICKLE:
        return None
    key = uploaded_key(storage, UploadKind.PICKLE, upload)
    if key is None:
        return None
    if not _SLOTS.acquire(timeout=_MAX_SECONDS):
        raise BusyError("The server is inspecting too many pickles at once. Try again in a few seconds.")
    try:
        with storage.local_path(key) as path:
            return inspect_pickle(path, _MAX_SECONDS, _MAX_OBJECTS)
    except PredictdError:
        return None
    except Exception:
        # Whatever an untrusted file does to the inspection: the run reports its error.
        log.exception("inspection_failed", filename=filename)
        return None
    finally:
        _SLOTS.release()


def matching_runtime(session: Session, inspection: Inspection, home: Path) -> Runtime | None:
    """Return the best match for the pickle; None if no runtime has its Python version, or if that is unknown."""
    return next(iter(runtimes_by_match(session, inspection, home)), None)


def runtimes_by_match(session: Session, inspection: Inspection, home: Path) -> list[Runtime]:
    """Return the runtimes with the Python version of the pickle, best match first.

    The best match lacks the fewest modules; then the default and the newest Python come first.
    """
    targets = _targets(home)

    def rank(runtime: Runtime) -> tuple[int, bool, list[int]]:
        target = targets.get(runtime.folder)
        missing = len(missing_in(inspection, target)) if target is not None else 0
        return missing, not runtime.is_default, [-int(part) for part in runtime.python.split(".")]

    return sorted((runtime for runtime in list_runtimes(session) if runtime.python in inspection.pythons), key=rank)


def built_target(home: Path, runtime: Runtime) -> Target | None:
    """Return the built runtime; None if it is not built on this server."""
    return _targets(home).get(runtime.folder)


def certain_failure(session: Session, inspection: Inspection, runtime: Runtime, home: Path) -> ModelFailure | None:
    """Return why the pickle is certain to fail in every runtime; None if it may work in one."""
    targets = _targets(home)
    other_runtimes = [other for other in list_runtimes(session) if other.id != runtime.id]
    failures: list[Sequence[Finding]] = []
    for candidate in (runtime, *other_runtimes):
        target = targets.get(candidate.folder)
        failures.append(certain_failures(inspection, target) if target is not None else ())
    if not all(failures):
        return None
    return _failure(failures[0][0], inspection)


def _failure(finding: Finding, inspection: Inspection) -> ModelFailure | None:
    """Return the failure of a run for a finding; None if only a run can show it.

    For bytecode of another Python version or a missing module, a run shows the evidence within a moment.
    """
    signature = inspection.signature
    details = {
        "not_callable": signature.description,
        "bad_signature": signature.problem,
        "not_a_pickle": inspection.flaw[1] if inspection.flaw else None,
        "truncated_pickle": inspection.flaw[1] if inspection.flaw else None,
    }
    detail = details.get(finding.code)
    return ModelFailure(code=finding.code, facts={"detail": detail}) if detail else None


def _targets(home: Path) -> dict[str, Target]:
    """Return the built runtimes by folder name."""
    folders = tuple(sorted(built.folder.name for built in load(home)))
    return _read_targets(home, folders)


@lru_cache(maxsize=8)
def _read_targets(home: Path, _folders: tuple[str, ...]) -> dict[str, Target]:
    # A built runtime never changes, so the folder names are a valid cache key.
    return {built.folder.name: target_of_built(built) for built in load(home)}
