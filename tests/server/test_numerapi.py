"""The public client, unmodified but for its address."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, Server

CLIENTS = {"numerapi 3.1": None, "numerapi 2.23": ROOT / ".cache" / "numerapi-2.23"}


@pytest.fixture(scope="module")
def opened(make_server: Callable[..., AbstractContextManager[Server]]) -> Iterator[Server]:
    """A server with an open round."""
    with make_server() as server:
        server.open_round()
        yield server


@pytest.mark.parametrize("client", CLIENTS)
def test_every_method_returns(opened: Server, pickles: dict[str, bytes], tmp_path: Path, client: str) -> None:
    user = opened.user(client.replace(" ", "_").replace(".", "_"))
    pickle = tmp_path / "model.pkl"
    pickle.write_bytes(pickles["good"])
    answers = walk(CLIENTS[client], [opened.address, user.public_id, user.secret_key, str(pickle), str(tmp_path)])

    assert answers["not_walked"] == []
    assert answers["check_round_open"] is True
    assert answers["get_current_round"] == 1
    assert set(answers["model_upload_data_versions"]) == {"v5.3"}
    assert answers["round_trip"] is True
    assert len(answers["submission_ids"]) == 2
    assert [one["round_num"] for one in answers["get_submission_filenames"]] == [1]
    assert answers["set_submission_webhook"] is True
    if "3.1" in client:
        assert answers["eras_of_a_filtered_download"] == ["0575"]
    assert user.wait(answers["model_upload"])["validationStatus"] == "validated"


def walk(folder: Path | None, arguments: list[str]) -> dict[str, Any]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("NUMERAI")}
    if folder is not None:
        assert (folder / "numerapi").is_dir(), "run scripts/prepare_tests.py first (make test does)"
        environment["PYTHONPATH"] = str(folder)
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "clients" / "walk.py"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))
