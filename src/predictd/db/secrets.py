"""Keys that all servers of a database share."""

import secrets
from datetime import datetime

from sqlalchemy.exc import IntegrityError

from predictd.db.database import Database
from predictd.db.merged import Secret

SECRET_BYTES = 32


def shared_secret(database: Database, name: str, now: datetime) -> bytes:
    """The key of that name, made at the first call; two servers at once agree on one."""
    for _ in range(2):
        with database.read() as session:
            found = session.get(Secret, name)
        if found is not None:
            break
        found = Secret(name=name, value=secrets.token_hex(SECRET_BYTES), inserted_at=now)
        try:
            with database.write() as session:
                session.add(found)
            break
        except IntegrityError:
            continue
    assert found is not None
    return bytes.fromhex(found.value)
