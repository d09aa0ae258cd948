"""The database: its migrations are those of its tables, and its transactions hold."""

import json
import os
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
from predictd.db.database import newest_revision
from predictd.db.migrate import alembic_config
from predictd.db.models import Diagnostics, Pickle
from predictd.domain.errors import ConflictError, SetupError

NOW = datetime(2026, 1, 6, 13, 0, tzinfo=UTC)
AT = "'2026-01-06 13:00:00'"
OLDER = (
    "INSERT INTO accounts (id, username, username_key, status, email_preferences, inserted_at, updated_at)"
    f" VALUES ('a', 'alice', 'alice', 'VERIFIED', '{{}}', {AT}, {AT})",
    "INSERT INTO runtimes (id, name, image, tag, python, folder, is_default, is_deprecated, inserted_at)"
    f" VALUES ('r', 'Python 3.12', 'image', 'tag', '3.12', 'folder', true, false, {AT})",
    "INSERT INTO data_versions (id, name, is_default, is_deprecated, inserted_at)"
    f" VALUES ('v', 'v5.3', true, false, {AT})",
    "INSERT INTO pickles (id, account_id, runtime_id, data_version_id, filename, storage_key, size_bytes,"
    " validation_status, takes_slot, inserted_at, updated_at)"
    f" VALUES ('p', 'a', 'r', 'v', 'model.pkl', 'pickle/p', 1, 'pending', false, {AT}, {AT})",
    "INSERT INTO triggers (id, pickle_id, type, state, attempt, failures, not_before, log_cut_bytes, inserted_at,"
    f" updated_at) VALUES ('t', 'p', 'validation', 'pending', 0, 0, {AT}, 0, {AT}, {AT})",
    f"INSERT INTO trigger_statuses (id, trigger_id, status, inserted_at) VALUES ('s', 't', 'pending', {AT})",
    "INSERT INTO diagnostics (id, account_id, filename, storage_key, status, inserted_at, updated_at)"
    f" VALUES ('d', 'a', 'predictions.csv', 'diagnostics/d', 'pending', {AT}, {AT})",
)


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
    assert database.revision() == newest_revision()


def test_an_older_database_keeps_what_it_holds_and_scores_the_files_that_waited(database: Database) -> None:
    with database._unchecked() as connection:
        command.upgrade(alembic_config(connection), "0002")
        for statement in OLDER:
            connection.execute(text(statement))
        connection.commit()
    database.upgrade()
    with database.read() as session:
        pickle = session.query(Pickle).one()
        assert [trigger.id for trigger in pickle.triggers] == ["t"]
        assert [status.status for status in pickle.triggers[0].statuses] == ["pending"]
        diagnostics = session.query(Diagnostics).one()
        assert diagnostics.trigger is not None
        assert (diagnostics.trigger.state, diagnostics.trigger.type) == ("pending", "diagnostics")
        assert diagnostics.trigger.statuses[0].description
    with database.engine.connect() as connection:
        command.check(alembic_config(connection))
        if database.is_sqlite:
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []


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


def test_an_upgrade_does_not_hold_up_servers_behind_a_table_in_use(database: Database) -> None:
    if database.is_sqlite:
        pytest.skip("on SQLite an upgrade waits for the one writer")
    with database._unchecked() as connection:
        command.upgrade(alembic_config(connection), "0002")
        connection.commit()
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
