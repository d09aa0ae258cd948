"""Hooks that run after a transaction commits."""

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.orm import Session


def after_commit(session: Session, act: Callable[[], object]) -> None:
    """Call `act` after the transaction of the session commits; never if it rolls back.

    The hook runs in the same thread and must not use the session.
    """

    def committed(_: Session) -> None:
        act()

    sa.event.listen(session, "after_commit", committed, once=True)
