"""Doing something once a transaction has been committed, and only then."""

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.orm import Session


def after_commit(session: Session, act: Callable[[], object]) -> None:
    """Call `act` when the session's transaction is committed; never, if it is rolled back.

    It runs in the same thread and must not use the session.
    """

    def committed(_: Session) -> None:
        act()

    sa.event.listen(session, "after_commit", committed, once=True)
