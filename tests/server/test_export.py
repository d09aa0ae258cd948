"""Everything goes from one deployment into another, whichever database and storage they have, or nothing does."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from conftest import PREDICTD, RUNTIMES, Server, User
from database import Cluster
from predictd.backup import import_deployment
from predictd.db.accounts import list_accounts
from predictd.domain.errors import InvalidInputError
from predictd.server.deployment import open_deployment
from predictd.settings import Settings
from s3 import S3Server, s3_server


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture(scope="module")
def source(
    make_server: Callable[..., AbstractContextManager[Server]], pickles: dict[str, bytes], tmp_path_factory: Any
) -> Iterator[tuple[Server, User, str, Path]]:
    """A server on SQLite and a folder, with a model that has submitted, and its export, made while it runs."""
    with make_server(database_url="") as server:
        user = server.user("alice")
        model_id = user.add_model("moved")
        server.open_round("10h")
        user.wait(user.upload(pickles["good"], model_id))
        path = tmp_path_factory.mktemp("export") / "export"
        server.predictd("export", str(path))
        yield server, user, model_id, path


def settings_of(home: Path, **settings: str) -> dict[str, str]:
    """The environment of another deployment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREDICTD_", "AWS_"))}
    defaults = {"data_dir": str(home), "runtimes_dir": str(RUNTIMES), "calendar": "manual", "run_seconds": "45"}
    return (
        kept
        | {f"PREDICTD_{name.upper()}": value for name, value in (defaults | settings).items()}
        | {"UV_OFFLINE": "1"}
    )


def predictd(environment: dict[str, str], *arguments: str, fails: bool = False) -> str:
    done = subprocess.run(
        [PREDICTD, *arguments], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


def contents(manifest: dict[str, Any]) -> dict[str, Any]:
    """What two exports of the same have in common; the audit log has a line more after each."""
    tables = [table for table in manifest["tables"] if table["name"] != "audit_log"]
    return {"tables": tables, "objects": manifest["objects"], "schema": manifest["schema"]}


def rows_of(manifest: dict[str, Any], name: str) -> int:
    return next(int(table["rows"]) for table in manifest["tables"] if table["name"] == name)


def test_from_sqlite_and_a_folder_to_postgresql_and_s3_and_back_everything_is_the_same(
    source: tuple[Server, User, str, Path],
    postgres: Cluster,
    bucket: S3Server,
    pickles: dict[str, bytes],
    tmp_path: Path,
) -> None:
    _, user, model_id, path = source
    first = json.loads((path / "manifest.json").read_text())
    assert first["missing"] == []
    assert rows_of(first, "submissions") == 1
    assert oct(path.stat().st_mode)[-3:] == "700"

    large = settings_of(tmp_path / "large", database_url=postgres.create_database(), storage_url=bucket.url("moved"))
    large |= bucket.credentials
    predictd(large, "import", str(path))
    assert "not empty" in predictd(large, "import", str(path), fails=True)
    tar = tmp_path / "again.tar"
    second = json.loads(predictd(large, "export", str(tar), "--json"))
    assert contents(second) == contents(first)

    small = settings_of(tmp_path / "small")
    predictd(small, "import", str(tar))
    third = json.loads(predictd(small, "export", str(tmp_path / "third"), "--json"))
    assert contents(third) == contents(first)
    audited = [rows_of(manifest, "audit_log") for manifest in (first, second, third)]
    assert audited == list(range(audited[0], audited[0] + 3))

    server = Server(tmp_path / "large", large).start()
    moved = User(server.address, user.username, user.public_id, user.secret_key)
    assert [one["selected"] for one in moved.submissions(model_id)] == [True]
    # Rows get numbers that none had, and the model's pickle runs on.
    assert server.open_round() == 2
    deadline = time.monotonic() + 60
    while len(moved.submissions(model_id)) < 2:
        assert time.monotonic() < deadline, server.log
        time.sleep(0.2)
    server.stop()


@pytest.mark.parametrize("damage", ["an object changed", "a table cut short", "an object gone", "no manifest"])
def test_a_damaged_export_changes_nothing(source: tuple[Server, User, str, Path], tmp_path: Path, damage: str) -> None:
    path = tmp_path / "damaged"
    shutil.copytree(source[3], path)
    [pickle] = (path / "objects" / "pickle").iterdir()
    table = path / "tables" / "accounts.jsonl"
    if damage == "an object changed":
        pickle.write_bytes(pickle.read_bytes()[:-1] + b"?")
    elif damage == "a table cut short":
        table.write_bytes(table.read_bytes()[:-10])
    elif damage == "an object gone":
        pickle.unlink()
    else:
        (path / "manifest.json").unlink()
    target = open_deployment(Settings(data_dir=tmp_path / "target"))
    with pytest.raises(InvalidInputError) as refusal:
        import_deployment(target.database, target.storage, path, progress=lambda _step, _share: None)
    named = {"no manifest": "manifest.json", "a table cut short": "accounts.jsonl"}.get(damage, pickle.name)
    assert named in refusal.value.message
    with target.database.read() as session:
        assert list_accounts(session) == []
    assert list(target.storage.objects()) == []
    target.database.close()


def test_an_import_that_is_killed_is_not_taken_for_whole_and_goes_on(
    source: tuple[Server, User, str, Path], tmp_path: Path
) -> None:
    target = settings_of(tmp_path / "target")
    storage = tmp_path / "target" / "storage"
    killed = subprocess.Popen([PREDICTD, "import", str(source[3])], env=target, stderr=subprocess.DEVNULL)
    while killed.poll() is None and not (storage / "importing" / "manifest").exists():
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert (storage / "importing" / "manifest").exists()
    assert "interrupted" in predictd(target, "serve", "--port", "0", fails=True)
    assert json.loads(predictd(target, "import", str(source[3]), "--json"))["resumed"] is True
    assert not (storage / "importing" / "manifest").exists()
    with open_deployment(Settings(data_dir=tmp_path / "target")).database.read() as session:
        assert [one.username for one in list_accounts(session)] == ["alice"]
