"""The database: its migrations are those of its tables, and its transactions hold."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import inspect

from conftest import PREDICTD
from predictd.db import Database
from predictd.db.accounts import create_account, list_accounts
from predictd.db.database import newest_revision
from predictd.db.upgrade import alembic_config
from predictd.domain.errors import ConflictError

NOW = datetime(2026, 1, 6, 13, 0, tzinfo=UTC)


@pytest.fixture
def database(database_url: Callable[[], str]) -> Iterator[Database]:
    database = Database(database_url())
    yield database
    database.close()


def test_the_migrations_make_the_tables_and_nothing_else(database: Database) -> None:
    database.upgrade()
    with database.engine.connect() as connection:
        command.check(alembic_config(connection))
        command.current(alembic_config(connection))
        assert inspect(connection).has_table("triggers")
    assert database._revision() == newest_revision()


def test_several_processes_may_bring_the_schema_up_to_date_at_once(database: Database, tmp_path: Path) -> None:
    environment = os.environ | {"PREDICTD_DATABASE_URL": database.url, "PREDICTD_DATA_DIR": str(tmp_path)}
    listing = [PREDICTD, "account", "list", "--json"]
    running = [subprocess.Popen(listing, env=environment, stdout=subprocess.PIPE) for _ in range(4)]
    assert [process.communicate()[0] for process in running] == [b"[]\n"] * 4
    assert [process.returncode for process in running] == [0] * 4


def test_of_two_accounts_of_one_name_there_is_one(database: Database) -> None:
    database.upgrade()
    outcomes: list[str] = []

    def make(name: str) -> None:
        try:
            with database.write() as session:
                create_account(session, name, NOW)
            outcomes.append("made")
        except ConflictError:
            outcomes.append("taken")

    threads = [threading.Thread(target=make, args=(name,)) for name in ("alice", "ALICE", "Alice", "alicE")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["made", "taken", "taken", "taken"]


def test_what_fails_in_the_middle_is_not_there(database: Database) -> None:
    database.upgrade()

    def fail_in_the_middle() -> None:
        with database.write() as session:
            create_account(session, "alice", NOW)
            create_account(session, "alice", NOW)

    with pytest.raises(ConflictError):
        fail_in_the_middle()
    with database.read() as session:
        assert list_accounts(session) == []


def test_a_reader_sees_one_state_whatever_is_written_meanwhile(database: Database) -> None:
    database.upgrade()
    with database.read() as session:
        assert list_accounts(session) == []
        with database.write() as other:
            create_account(other, "alice", NOW)
        assert list_accounts(session) == []
    with database.read() as session:
        assert [account.username for account in list_accounts(session)] == ["alice"]
