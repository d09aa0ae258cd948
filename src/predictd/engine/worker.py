"""One claimed trigger from its claim to its end, whatever becomes of it."""

from contextlib import suppress
from datetime import UTC, datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError

from predictd.cluster.placing import GivenBackError
from predictd.domain.errors import CancelledError, PlatformError
from predictd.domain.states import TriggerType
from predictd.engine.config import Job
from predictd.engine.diagnosing import diagnose
from predictd.engine.predicting import predict
from predictd.engine.queue import give_back, retry
from predictd.engine.speed import forget_tables

log = structlog.get_logger()


def work(job: Job) -> None:
    """Run the claimed trigger and record how it ended; never raises.

    A failure of the model ends the trigger; a failure of the platform puts it back to be tried again; a cancelled run
    records nothing, because it was cancelled by whoever decides what becomes of the trigger.
    """
    bound = log.bind(trigger=job.claimed.trigger_id, attempt=job.claimed.attempt)
    try:
        (diagnose if job.claimed.type is TriggerType.DIAGNOSTICS else predict)(job)
    except CancelledError:
        bound.info("run_cancelled")
    except GivenBackError:
        bound.info("run_given_back")
        _give_back(job)
    except PlatformError as error:
        bound.error("platform_error", error=error.message)
        with suppress(SQLAlchemyError):
            forget_tables(job.database, job.claimed.trigger_id)
        _retry(job, f"The platform failed: {error.message}")
    except Exception:  # noqa: BLE001 (whatever it is, it's ours: the trigger must not stay Running)
        bound.exception("platform_error")
        _retry(job, "The platform failed in a way it did not expect.")
    finally:
        with suppress(SQLAlchemyError):
            job.writer.close()


def _give_back(job: Job) -> None:
    told = "The machine that ran the model is being stopped.", "Waiting for another machine."
    try:
        with job.database.write() as session:
            give_back(session, job.claimed, *told, datetime.now(UTC))
    except Exception:
        log.exception("give_back_not_recorded", trigger=job.claimed.trigger_id)


def _retry(job: Job, reason: str) -> None:
    try:
        with job.database.write() as session:
            retry(
                session,
                job.claimed,
                reason,
                datetime.now(UTC),
                wait_seconds=job.config.retry_seconds,
                max_attempts=job.config.max_attempts,
            )
    except Exception:
        log.exception("retry_not_recorded", trigger=job.claimed.trigger_id)
