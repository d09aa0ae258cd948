"""The database: its migrations are those of its tables, and its transactions hold."""

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import inspect, text

from conftest import PREDICTD
from predictd.db import Database
from predictd.db.accounts import create_account, list_accounts
from predictd.db.migrations.revisions import MIGRATIONS, alembic_config, newest_revision
from predictd.domain.errors import ConflictError, SetupError

NOW = datetime(2026, 1, 6, 13, 0, tzinfo=UTC)
ONE_MORE_COLUMN = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "0002", "0001", None, None


def upgrade() -> None:
    op.add_column("pickles", sa.Column("one_more", sa.Integer()))
"""


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
        assert inspect(connection).has_table("runs")
    assert database.revision() == newest_revision()


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


def test_an_older_predictd_does_not_start_on_a_newer_schema(database: Database) -> None:
    database.upgrade()
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SetupError, match=r"schema 9999 of a newer predictd"):
        database.upgrade()
    with pytest.raises(SetupError, match=r"schema 9999 of a newer predictd"):
        database.check()


def test_the_schema_is_told_and_brought_up_to_date_by_hand(database: Database, tmp_path: Path) -> None:
    environment = os.environ | {"PREDICTD_DATABASE_URL": database.url, "PREDICTD_DATA_DIR": str(tmp_path)}

    def predictd(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [PREDICTD, *arguments], env=environment | settings, capture_output=True, text=True, check=False
        )

    told = predictd("db", "status", "--json")
    assert (told.returncode, json.loads(told.stdout)["pending"][0]) == (1, "0001")
    refused = predictd("account", "list", PREDICTD_AUTO_UPGRADE="false")
    assert (refused.returncode, "predictd db upgrade" in refused.stderr) == (1, True)
    assert json.loads(predictd("db", "upgrade", "--json").stdout) == {"before": None, "now": newest_revision()}
    told = predictd("db", "status", "--json")
    assert (told.returncode, json.loads(told.stdout)["state"]) == (0, "current")
    assert predictd("account", "list", PREDICTD_AUTO_UPGRADE="false").returncode == 0


def test_an_upgrade_does_not_hold_up_servers_behind_a_table_in_use(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database.is_sqlite:
        pytest.skip("on SQLite an upgrade waits for the one writer")
    database.upgrade()
    migrations = shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    (migrations / "versions" / "0002_one_more_column.py").write_text(ONE_MORE_COLUMN)
    monkeypatch.setattr("predictd.db.migrations.revisions.MIGRATIONS", migrations)
    upgrading = threading.Thread(target=database.upgrade)
    with database.engine.connect() as busy:
        busy.execute(text("LOCK TABLE pickles IN ACCESS SHARE MODE"))
        upgrading.start()
        # While the upgrade waits, others get at the table within the time that it may wait.
        time.sleep(0.5)
        with database.engine.connect() as other:
            other.execute(text("SET statement_timeout = '6s'"))
            other.execute(text("SELECT count(*) FROM pickles"))
        busy.rollback()
    upgrading.join(60)
    assert database.revision() == newest_revision()
