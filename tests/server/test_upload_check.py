"""What is told of an upload before anything is made of it."""

import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from sqlalchemy.orm import Session

from predictd.db import Database
from predictd.db.accounts import create_account
from predictd.db.model_queries import add_model
from predictd.db.models import Account, DataVersion, Model, Pickle, Runtime, Upload
from predictd.domain.errors import ConflictError, InvalidInputError, NotFoundError
from predictd.domain.findings import Level
from predictd.storage import FolderStorage
from predictd.uploads.incoming import UploadKind, authorize_upload, discard_upload, receive_file
from predictd.uploads.upload_check import UploadCheck, check_upload

NOW = datetime(2026, 1, 6, 13, 0, tzinfo=UTC)
OWN_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PREDICT = """
FEATURES = ["feature_new_one", "feature_new_two"]

def predict(live_features):
    return live_features[FEATURES].sum(axis=1).rank(pct=True).to_frame("prediction")
"""


@pytest.fixture
def session(database_url: Callable[[], str], storage: FolderStorage, tmp_path: Path) -> Iterator[Session]:
    """Runtimes of two Pythons, the default one of another than this, and data versions with other features each."""
    database = Database(database_url())
    database.upgrade()
    with database.write() as session:
        for python in ("3.10", OWN_PYTHON):
            names = {"name": f"Python {python}", "image": f"py{python}", "tag": "t", "folder": f"py{python}"}
            session.add(Runtime(python=python, is_default=python == "3.10", inserted_at=NOW, **names))
        for name, features in {"old": ["feature_old"], "new": ["feature_new_one", "feature_new_two"]}.items():
            session.add(DataVersion(name=name, is_default=name == "old", inserted_at=NOW))
            path = tmp_path / f"{name}.json"
            path.write_text(json.dumps({"feature_sets": {"all": features}}))
            storage.put_file(f"data/{name}/features.json", path)
        account = create_account(session, "alice", NOW)
        add_model(session, account, "mine", 8, NOW, 50)
        yield session
    database.close()


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    return FolderStorage.open(tmp_path / "storage", base_url="")


@pytest.fixture
def upload(session: Session, storage: FolderStorage, tmp_path: Path) -> Callable[[bytes], str]:
    def send(content: bytes) -> str:
        account, model = session.query(Account).one(), session.query(Model).one()
        given: Any = {"now": NOW, "max_bytes": 1 << 20, "url_seconds": 60}
        auth = authorize_upload(session, storage, account, UploadKind.PICKLE, "model.pkl", model.id, **given)
        path = tmp_path / "sent"
        path.write_bytes(content)
        receive_file(session, storage, account, auth.filename, path, NOW)
        return auth.filename

    return send


@pytest.fixture
def check(session: Session, storage: FolderStorage, tmp_path: Path) -> Callable[..., UploadCheck]:
    def look(filename: str, runtime: str | None = None, data_version: str | None = None) -> UploadCheck:
        return check_upload(
            session,
            storage,
            session.query(Account).one(),
            filename,
            model_id=session.query(Model).one().id,
            runtime=runtime,
            data_version=data_version,
            runtimes_home=tmp_path / "runtimes",
            max_bytes=1 << 20,
            now=NOW,
        )

    return look


def model() -> bytes:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(PREDICT, namespace)
    return bytes(cloudpickle.dumps(namespace["predict"]))


def test_the_runtime_and_the_data_version_that_suit_a_pickle_are_chosen_and_nothing_is_made_of_it(
    upload: Callable[[bytes], str], check: Callable[..., UploadCheck], session: Session
) -> None:
    filename = upload(model())
    found = check(filename)
    assert found.runtime.python == OWN_PYTHON
    assert found.matching_runtime_ids == {found.runtime.id}
    assert [one.name for one in found.versions] == ["new", "old"]
    assert found.version.name == "new"
    assert found.of_level(Level.FAIL) == []
    assert any("has all 2 features" in one.sentence for one in found.of_level(Level.PASS))
    assert session.query(Pickle).count() == 0

    [missing] = check(filename, data_version="old").of_level(Level.FAIL)
    assert (missing.topic, missing.code) == ("features", "unknown_features")


def test_what_is_no_pickle_is_told_and_what_is_not_there_has_a_remedy(
    upload: Callable[[bytes], str], check: Callable[..., UploadCheck], session: Session, storage: FolderStorage
) -> None:
    filename = upload(b"PK\x03\x04 an archive")
    [flaw] = check(filename).of_level(Level.FAIL)
    assert flaw.code == "not_a_pickle"
    discard_upload(session, storage, session.query(Account).one(), filename)
    assert not list((storage.root / "incoming").rglob("*.pkl"))
    with pytest.raises(InvalidInputError, match="Upload the file again"):
        check(filename)
    assert session.query(Upload).count() == 1  # it counts among the uploads of the hour
    with pytest.raises(NotFoundError, match="Upload the pickle again"):
        check("model-000000000000.pkl")
    session.query(Upload).one().registered_at = NOW
    with pytest.raises(ConflictError, match="has already been registered"):
        check(filename)
