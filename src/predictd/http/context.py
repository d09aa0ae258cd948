"""The context of a GraphQL request: its account and its transactions."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy.orm import Session

from predictd.db import Database
from predictd.db.accounts import authenticate
from predictd.db.models import Account, Base, Pickle, Token
from predictd.db.queue_stats import newest_states
from predictd.db.sessions import find_session
from predictd.domain.errors import MissingScopeError, NotAuthenticatedError
from predictd.http.services import Services
from predictd.settings import Settings
from predictd.storage import Storage
from predictd.uploads.upload_service import UploadService

Row = TypeVar("Row", bound=Base)


@dataclass(kw_only=True)
class Context:
    """The context of a request. Queries read in one transaction; each mutation writes in its own.

    Args:
        services: what the server shares among requests.
        storage: presigns URLs as this client needs them.
        session: the reading transaction.
        authorization: the Authorization header, empty if it is missing.
        client_address: the IP address of the client.
    """

    services: Services
    storage: Storage
    session: Session
    authorization: str
    client_address: str
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    _token: Token | None = field(default=None, init=False)
    _is_token_loaded: bool = field(default=False, init=False)
    _newest_states: dict[str, str | None] = field(default_factory=dict, init=False)

    @property
    def database(self) -> Database:
        """The database of the server."""
        return self.services.database

    @property
    def settings(self) -> Settings:
        """The settings of the server."""
        return self.services.settings

    @property
    def uploads(self) -> UploadService:
        """The service for uploads and runs; call `refresh` after it has changed what the request reads again."""
        return self.services.uploads(self.storage)

    @property
    def token(self) -> Token | None:
        """The valid token of the request, None if it has none."""
        if not self._is_token_loaded:
            credentials = parse_authorization(self.authorization)
            self._token = authenticate(self.session, *credentials) if credentials else None
            self._is_token_loaded = True
        return self._token

    @property
    def session_secret(self) -> str:
        """The secret of the session of the request, which may be invalid; empty if there is none."""
        return "" if parse_authorization(self.authorization) else _last_word(self.authorization)

    def account(self, *scopes: str) -> Account:
        """Return the account of the request. A token needs any of the scopes; a session has all of them.

        Raises:
            NotAuthenticatedError: there is no valid token and no session.
            MissingScopeError: the token has none of the scopes.
        """
        token = self.token
        if token is None:
            secret = self.session_secret
            web_session = find_session(self.session, secret, self.now) if secret else None
            if web_session is None:
                raise NotAuthenticatedError
            return web_session.account
        if scopes and not set(scopes) & set(token.scopes):
            raise MissingScopeError(
                f"The token {token.name!r} lacks the scope {' or '.join(scopes)}. Create a token that has it."
            )
        return token.account

    def can_manage(self, token: Token) -> bool:
        """Return whether the request may list and revoke that token: a token can't manage one with more scopes."""
        return self.token is None or set(token.scopes) <= set(self.token.scopes)

    def check_can_manage(self, token: Token) -> None:
        """Raise MissingScopeError unless the request may revoke that token."""
        if self.token is not None and not self.can_manage(token):
            missing = ", ".join(sorted(set(token.scopes) - set(self.token.scopes)))
            raise MissingScopeError(
                f"The token {self.token.name!r} can't revoke {token.name!r}, which has scopes that it lacks "
                f"({missing}). Sign in with your password, or use a token that has them."
            )

    def current_account(self) -> Account | None:
        """Return the account of the request, None for an anonymous request."""
        try:
            return self.account()
        except NotAuthenticatedError:
            return None

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Begin a writing transaction, whose changes the request sees afterwards."""
        with self.database.write() as session:
            yield session
        self.refresh()

    def refresh(self) -> None:
        """Begin a new reading transaction, so that the request sees what was written meanwhile."""
        self.session.rollback()
        self._newest_states.clear()

    def newest_state(self, pickle: Pickle) -> str | None:
        """Return the state of the pickle's latest run; one query for all pickles that the request has loaded."""
        if pickle.id not in self._newest_states:
            loaded = {row.id for row in self.session.identity_map.values() if isinstance(row, Pickle)} | {pickle.id}
            missing = sorted(loaded - self._newest_states.keys())
            self._newest_states |= newest_states(self.session, missing)
        return self._newest_states[pickle.id]

    def load(self, table: type[Row], key: str) -> Row:
        """Return the row of that key from the reading transaction."""
        return self.session.get_one(table, key)


def parse_authorization(header: str) -> tuple[str, str] | None:
    """Read `Token PUBLIC_ID$SECRET_KEY`; some clients write `Token` twice."""
    public_id, dollar, secret = _last_word(header).partition("$")
    return (public_id, secret) if dollar and public_id and secret else None


def _last_word(header: str) -> str:
    words = header.split()
    is_token = all(word.lower() in {"token", "bearer"} for word in words[:-1])
    return words[-1] if words and is_token else ""
