"""What all requests share, and the address of the client of a request."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

from starlette.requests import Request

from predictd.db import Database
from predictd.http.rate_limit import RateLimiter
from predictd.monitoring.server_status import ServerStatus
from predictd.rounds.scorer import Scorer
from predictd.settings import Settings
from predictd.storage import Storage
from predictd.uploads.upload_service import UploadService
from predictd.worker.hashes import hash_pickle


@dataclass(frozen=True, kw_only=True)
class Services:
    """The parts of the server that handle requests.

    Attributes:
        wake: wakes the workers after a run was queued.
        scorer: scores rounds for admins; None if this server does not score.
        vitals: the status of the running server.
        is_stopping: whether the server is shutting down, so that requests should go to another one.
    """

    database: Database
    storage: Storage
    settings: Settings
    wake: Callable[[], None]
    scorer: Scorer | None = None
    vitals: ServerStatus | None = None
    is_stopping: Callable[[], bool] = lambda: False

    @cached_property
    def rate_limiter(self) -> RateLimiter:
        """Limits attempts to sign in and to sign up."""
        return RateLimiter(self.database)

    def uploads(self, storage: Storage) -> UploadService:
        """Return the service for uploads and runs, whose presigned URLs are those of `storage`."""
        return UploadService(
            database=self.database,
            storage=storage,
            settings=self.settings,
            wake=self.wake,
            hash_pickle=partial(hash_pickle, self.database, self.storage),
        )


def base_url(request: Request, settings: Settings) -> str:
    """Return the URL at which clients reach this server: the configured one, otherwise the one of this request."""
    return settings.public_url.rstrip("/") or str(request.base_url).rstrip("/")


def client_address(request: Request) -> str:
    """Return the IP address of the client; headers of proxies count only if the proxies are trusted."""
    return request.client.host if request.client is not None else ""
