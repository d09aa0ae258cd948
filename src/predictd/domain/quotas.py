"""What one account, and all of them together, may have on a server."""

from dataclasses import dataclass

GB = 10**9
# Protects the database: far more runs than any server completes in a day.
MAX_QUEUE = 20_000


@dataclass(frozen=True, kw_only=True)
class Quotas:
    """The limits of uploads and of the queue; 0 means no limit.

    Attributes:
        pickles: pickles that one account may have.
        storage_bytes: size of all files of one account: pickles, their compiled trees, uploads, diagnostics.
        uploads_per_hour: upload URLs of all kinds that are given to one account within an hour.
        account_queue: runs that one account may have waiting; those that a round sets off always find room.
        queue: runs of all accounts that may wait before nothing more is taken.
        free_bytes: what must stay free on the disk of the uploads, for what rounds write.
    """

    pickles: int = 0
    storage_bytes: int = 0
    uploads_per_hour: int = 0
    account_queue: int = 0
    queue: int = 0
    free_bytes: int = 0


NO_LIMITS = Quotas()
