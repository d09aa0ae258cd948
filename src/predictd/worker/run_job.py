"""Execution of one claimed run from its claim to its end."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from structlog.contextvars import bound_contextvars

from predictd.cluster.scheduler import JobRequeuedError
from predictd.db.retry import is_outage, retry_transaction
from predictd.domain.errors import (
    CancelledError,
    KilledOnceError,
    OutageError,
    PlatformError,
    RuntimeMissingError,
    is_disk_full,
)
from predictd.domain.reasons import KILLED, PLATFORM, Reason
from predictd.domain.states import RunType
from predictd.jobs.queue import requeue_claim
from predictd.worker.config import Job
from predictd.worker.diagnostics_run import diagnose
from predictd.worker.finalize import retry_or_give_up
from predictd.worker.live_run import predict
from predictd.worker.run_cache import invalidate_tables

log = structlog.get_logger()

_STOPPED = Reason(code="machine_stopping")
# A node that requeues every run must not keep a run in the queue forever.
_MAX_REQUEUES = 100


def run_job(job: Job) -> None:
    """Execute the claimed run and record how it ended; never raises. Log events have the id of the run.

    A model failure ends the run; a platform failure requeues it; a cancelled run records nothing, because the
    cancellation already changed the run.
    """
    with bound_contextvars(run=job.claimed.run_id, attempt=job.claimed.attempt, worker=job.slot):
        _run(job)


def _run(job: Job) -> None:
    try:
        (diagnose if job.claimed.type is RunType.DIAGNOSTICS else predict)(job)
    except CancelledError:
        log.info("run_cancelled")
    except JobRequeuedError:
        log.info("run_requeued")
        if job.claimed.attempt < _MAX_REQUEUES:
            _requeue(job, _STOPPED, "waiting_for_machine")
        else:
            _retry(job, _STOPPED)
    except RuntimeMissingError as error:
        log.error("run_postponed", error=error.message)
        _requeue(job, Reason(code=error.code, facts={"detail": error.message}), "waiting_for_runtime")
    except Exception as error:
        outage = _outage_message(error)
        if outage is not None:
            log.error("platform_error", error=outage)
            _retry(job, Reason(code=PLATFORM, facts={"detail": outage}), is_outage=True)
        elif isinstance(error, PlatformError):
            log.error("platform_error", error=error.message)
            with suppress(SQLAlchemyError):
                invalidate_tables(job.database, job.claimed.run_id)
            _retry(
                job,
                Reason(
                    code=KILLED if isinstance(error, KilledOnceError) else PLATFORM, facts={"detail": error.message}
                ),
            )
        else:
            log.exception("platform_error")
            _retry(job, Reason(code="unexpected_error"))
    finally:
        with suppress(SQLAlchemyError):
            job.writer.close()


def _outage_message(error: BaseException | None) -> str | None:
    """Return the message of the outage that caused the error, None if there is none."""
    while error is not None:
        if isinstance(error, OutageError):
            return error.message
        if is_disk_full(error):
            return "The server's disk is full."
        if is_outage(error):
            return "The database did not answer."
        error = error.__cause__ or error.__context__
    return None


def _requeue(job: Job, reason: Reason, waits_for: str) -> None:
    waiting = Reason(code=waits_for)
    _record(job, lambda session: requeue_claim(session, job.claimed, reason, waiting, datetime.now(UTC)))


def _retry(job: Job, reason: Reason, *, is_outage: bool = False) -> None:
    _record(
        job,
        lambda session: retry_or_give_up(
            session,
            job.claimed,
            reason,
            datetime.now(UTC),
            wait_seconds=job.config.retry_seconds,
            max_attempts=job.config.max_attempts,
            is_usable=job.is_usable,
            is_outage=is_outage,
        ),
    )


def _record(job: Job, do: Callable[[Session], bool]) -> None:
    try:
        retry_transaction(job.database, do, cancel=job.cancel)
    except CancelledError:
        log.info("run_cancelled", run=job.claimed.run_id)
    except Exception:
        log.exception("retry_not_recorded")
