"""One claimed trigger from its claim to its end, whatever becomes of it."""

from contextlib import suppress
from datetime import UTC, datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError
from structlog.contextvars import bound_contextvars

from predictd.cluster.placing import GivenBackError
from predictd.domain.errors import CancelledError, PlatformError, RuntimeMissingError, StorageDownError
from predictd.domain.states import TriggerType
from predictd.engine.config import Job
from predictd.engine.diagnosing import diagnose
from predictd.engine.outcome import retry_or_give_up
from predictd.engine.predicting import predict
from predictd.engine.queue import give_back
from predictd.engine.speed import forget_tables

log = structlog.get_logger()


def work(job: Job) -> None:
    """Run the claimed trigger and record how it ended; never raises. What is logged on the way has the trigger's id.

    A failure of the model ends the trigger; a failure of the platform puts it back to be tried again; a cancelled run
    records nothing, because it was cancelled by whoever decides what becomes of the trigger.
    """
    with bound_contextvars(trigger=job.claimed.trigger_id, attempt=job.claimed.attempt, worker=job.slot):
        _work(job)


def _work(job: Job) -> None:
    try:
        (diagnose if job.claimed.type is TriggerType.DIAGNOSTICS else predict)(job)
    except CancelledError:
        log.info("run_cancelled")
    except GivenBackError:
        log.info("run_given_back")
        _put_off(job, "The machine that ran the model is being stopped.", 0, "Waiting for another machine.")
    except StorageDownError as error:
        log.warning("put_off", error=error.message)
        # However long it takes, the storage comes back, and nothing of the run is at fault.
        _put_off(job, error.message, job.config.retry_seconds * 2 ** min(job.claimed.attempt - 1, 4))
    except RuntimeMissingError as error:
        log.error("put_off", error=error.message)
        _put_off(job, error.message, 0)
    except PlatformError as error:
        log.error("platform_error", error=error.message)
        with suppress(SQLAlchemyError):
            forget_tables(job.database, job.claimed.trigger_id)
        _retry(job, f"The platform failed: {error.message}")
    except Exception:
        log.exception("platform_error")
        _retry(job, "The platform failed in a way it did not expect.")
    finally:
        with suppress(SQLAlchemyError):
            job.writer.close()


def _put_off(job: Job, reason: str, wait_seconds: float, told: str = "Waiting for a machine that can run it.") -> None:
    try:
        with job.database.write() as session:
            give_back(session, job.claimed, reason, told, datetime.now(UTC), wait_seconds=wait_seconds)
    except Exception:
        log.exception("giving_back_not_recorded", trigger=job.claimed.trigger_id)


def _retry(job: Job, reason: str) -> None:
    try:
        with job.database.write() as session:
            retry_or_give_up(
                session,
                job.claimed,
                reason,
                datetime.now(UTC),
                wait_seconds=job.config.retry_seconds,
                max_attempts=job.config.max_attempts,
                is_usable=job.is_usable,
            )
    except Exception:
        log.exception("retry_not_recorded")
