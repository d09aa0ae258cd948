"""Which runtime suits an uploaded pickle, and what makes it fail in every one: told from its bytes alone."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import BoundedSemaphore

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from predictd.db.catalogue import list_runtimes
from predictd.db.models import Account, Runtime, Upload
from predictd.domain.errors import BusyError, PredictdError
from predictd.domain.failures import ModelFailure
from predictd.pickles import Finding, Inspection, Target, certain_failures, inspect_pickle, target_of_built
from predictd.pickles.compatibility import missing_in
from predictd.runtimes import load
from predictd.storage import Storage
from predictd.uploads.incoming import UploadKind, arrived_key

log = structlog.get_logger()

# A request waits for it, and what it does not find out the run does.
_MOST_SECONDS = 5.0
# They take some 40 MB; a forest of 2,000 trees has about 60,000.
_MOST_OBJECTS = 100_000
_AT_ONCE = BoundedSemaphore(4)


def inspect_upload(session: Session, storage: Storage, account: Account, filename: str) -> Inspection | None:
    """What the bytes say that arrived for a filename of the account's; None where there are none or no telling.

    Raises:
        BusyError: too many other pickles are being inspected.
    """
    upload = session.scalar(select(Upload).where(Upload.filename == filename))
    if upload is None or upload.account_id != account.id or upload.kind != UploadKind.PICKLE:
        return None
    key = arrived_key(storage, UploadKind.PICKLE, upload)
    if key is None:
        return None
    if not _AT_ONCE.acquire(timeout=_MOST_SECONDS):
        raise BusyError("The server is inspecting too many pickles at once. Try again in a few seconds.")
    try:
        with storage.local_path(key) as path:
            return inspect_pickle(path, _MOST_SECONDS, _MOST_OBJECTS)
    except PredictdError:
        return None
    except Exception:
        # Whatever a stranger's file makes of the inspection: the run tells what it is.
        log.exception("inspection_failed", filename=filename)
        return None
    finally:
        _AT_ONCE.release()


def matching_runtime(session: Session, inspection: Inspection, home: Path) -> Runtime | None:
    """The runtime in use that suits the pickle best; None where none of its Python is, or its Python can't be told."""
    return next(iter(runtimes_by_fit(session, inspection, home)), None)


def runtimes_by_fit(session: Session, inspection: Inspection, home: Path) -> list[Runtime]:
    """The runtimes in use of a Python that can have made the pickle, best first.

    The best lacks the fewest of its modules, of these it is the default one, else that of the newest Python.
    """
    targets = _targets(home)

    def badness(runtime: Runtime) -> tuple[int, bool, list[int]]:
        target = targets.get(runtime.folder)
        missing = len(missing_in(inspection, target)) if target is not None else 0
        return missing, not runtime.is_default, [-int(part) for part in runtime.python.split(".")]

    return sorted((one for one in list_runtimes(session) if one.python in inspection.pythons), key=badness)


def target_in(home: Path, runtime: Runtime) -> Target | None:
    """The runtime as a pickle sees it; None where it is not built on this machine."""
    return _targets(home).get(runtime.folder)


def failure_anywhere(session: Session, inspection: Inspection, runtime: Runtime, home: Path) -> ModelFailure | None:
    """Why the pickle surely fails in each runtime in use, and in the one chosen for it; None where it may work."""
    targets = _targets(home)
    runtimes = [runtime, *(one for one in list_runtimes(session) if one.id != runtime.id)]
    found: list[Sequence[Finding]] = []
    for one in runtimes:
        target = targets.get(one.folder)
        found.append(certain_failures(inspection, target) if target is not None else ())
    if not all(found):
        return None
    return _failure(found[0][0], inspection)


def _failure(finding: Finding, inspection: Inspection) -> ModelFailure | None:
    """The same in the words of a run; None where a run has to tell it.

    What becomes of another Python's bytecode, or of a module that is missing, a run shows within a moment and with its
    evidence: a segmentation fault, the import that failed.
    """
    signature = inspection.signature
    details = {
        "not_callable": signature.what,
        "bad_signature": signature.problem,
        "not_a_pickle": inspection.flaw[1] if inspection.flaw else None,
        "truncated_pickle": inspection.flaw[1] if inspection.flaw else None,
    }
    detail = details.get(finding.code)
    return ModelFailure(code=finding.code, facts={"detail": detail}) if detail else None


def _targets(home: Path) -> dict[str, Target]:
    """The built runtimes by the name of their folder."""
    folders = tuple(sorted(one.folder.name for one in load(home)))
    return _read_targets(home, folders)


@lru_cache(maxsize=8)
def _read_targets(home: Path, _folders: tuple[str, ...]) -> dict[str, Target]:
    # What is built is never built again, so the names of the folders say whether anything has changed.
    return {one.folder.name: target_of_built(one) for one in load(home)}
