"""One claimed trigger from its claim to its end, whatever becomes of it."""

import threading
from contextlib import suppress
from datetime import UTC, datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError

from predictd.db import Database
from predictd.domain.errors import CancelledError, PlatformError
from predictd.domain.states import TriggerType
from predictd.engine.config import WorkerConfig
from predictd.engine.diagnosing import diagnose
from predictd.engine.logs import LogWriter
from predictd.engine.predicting import predict
from predictd.engine.queue import Claim, retry
from predictd.engine.speed import forget_tables
from predictd.storage import Storage

log = structlog.get_logger()


def work(
    database: Database,
    storage: Storage,
    config: WorkerConfig,
    claimed: Claim,
    slot: int,
    writer: LogWriter,
    cancel: threading.Event,
) -> None:
    """Run the claimed trigger and record how it ended; never raises.

    A failure of the model ends the trigger; a failure of the platform puts it back to be tried again; a cancelled run
    records nothing, because it was cancelled by whoever decides what becomes of the trigger.
    """
    bound = log.bind(trigger=claimed.trigger_id, attempt=claimed.attempt)
    job = diagnose if claimed.type is TriggerType.DIAGNOSTICS else predict
    try:
        job(database, storage, config, claimed, slot, writer, cancel)
    except CancelledError:
        bound.info("run_cancelled")
    except PlatformError as error:
        bound.error("platform_error", error=error.message)
        with suppress(SQLAlchemyError):
            forget_tables(database, claimed.trigger_id)
        _retry(database, config, claimed, f"The platform failed: {error.message}")
    except Exception:  # noqa: BLE001 (whatever it is, it's ours: the trigger must not stay Running)
        bound.exception("platform_error")
        _retry(database, config, claimed, "The platform failed in a way it did not expect.")
    finally:
        with suppress(SQLAlchemyError):
            writer.close()


def _retry(database: Database, config: WorkerConfig, claimed: Claim, reason: str) -> None:
    try:
        with database.write() as session:
            retry(
                session,
                claimed,
                reason,
                datetime.now(UTC),
                wait_seconds=config.retry_seconds,
                max_attempts=config.max_attempts,
            )
    except Exception:
        log.exception("retry_not_recorded", trigger=claimed.trigger_id)
