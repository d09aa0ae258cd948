"""Secret keys that all servers of a database share."""

import secrets
from datetime import datetime

from sqlalchemy import String
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from predictd.db.database import Database
from predictd.db.models import Base

SECRET_BYTES = 32


class Secret(Base):
    """A key that all servers share, in hexadecimal."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(String(128))
    inserted_at: Mapped[datetime]


def shared_secret(database: Database, name: str, now: datetime) -> bytes:
    """Return the key with this name; the first call creates it, and concurrent servers get the same key."""
    for _ in range(2):
        with database.read() as session:
            secret = session.get(Secret, name)
        if secret is not None:
            break
        secret = Secret(name=name, value=secrets.token_hex(SECRET_BYTES), inserted_at=now)
        try:
            with database.write() as session:
                session.add(secret)
            break
        except IntegrityError:
            continue
    assert secret is not None
    return bytes.fromhex(secret.value)
