"""`predictd check --server` compares a pickle with what a server offers, without an account."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import PREDICTD, Server
from predictd.db import Database
from predictd.db.models import Runtime


def check(path: Path, address: str, *options: str) -> tuple[int, dict[str, Any], str]:
    command = [PREDICTD, "check", path, "--server", address, "--json", *options]
    environment = {**os.environ, "PREDICTD_RUNTIMES_DIR": str(path.parent / "none")}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=environment)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def test_the_runtimes_and_data_versions_of_a_server_are_asked_for(
    server: Server, pickles: dict[str, bytes], other_python_pickle: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "good.pkl"
    path.write_bytes(pickles["good"])
    code, report, _ = check(path, server.address)
    assert code == 0, report
    images = json.loads(server.predictd("runtime", "list", "--json").stdout)
    assert report["runtime"]["tag"] in {image["tag"] for image in images}
    assert any(one["topic"] == "data" and "v5.3" in one["sentence"] for one in report["findings"])
    if other_python_pickle is not None:
        path.write_bytes(other_python_pickle)
        code, report, _ = check(path, server.address, "--runtime", report["runtime"]["name"])
        assert code == 1
        assert [one["code"] for one in report["findings"] if one["level"] == "fail"] == ["python_mismatch"]
    path.write_bytes(pickles["needs_a_missing_module"])
    assert check(path, server.address)[0] == 1


def test_what_cannot_be_told_of_a_runtime_is_no_failure(
    new_server: Callable[..., Server], pickles: dict[str, bytes], tmp_path: Path
) -> None:
    """A runtime that neither this machine nor the server has built may have any module, but has its own Python."""
    server = new_server()
    database = Database(server.environment["PREDICTD_DATABASE_URL"])
    with database.write() as session:
        default = session.query(Runtime).filter_by(is_default=True).one()
        names = {"name": "Mine", "image": f"{default.image}_mine", "tag": "0123456789ab", "folder": "mine"}
        session.add(Runtime(python=default.python, inserted_at=default.inserted_at, **names))
    database.close()
    path = tmp_path / "model.pkl"
    path.write_bytes(pickles["needs_a_missing_module"])
    code, report, _ = check(path, server.address, "--runtime", f"{names['image']}")
    assert (code, report["runtime"]["tag"]) == (0, names["tag"])
    [unknown] = [one for one in report["findings"] if one["topic"] == "imports"]
    assert (unknown["level"], unknown["code"]) == ("warn", "unknown_modules")
    assert unknown["sentence"].startswith("Cannot tell whether Mine has a_module_of_my_own")
    # The server has built its own runtime, so that it says what that lacks.
    assert check(path, server.address, "--runtime", default.tag)[0] == 1
    path.write_bytes(pickles["good"])
    assert check(path, server.address, "--runtime", default.tag)[0] == 0


def test_what_is_no_server_is_told(server: Server, pickles: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "good.pkl"
    path.write_bytes(pickles["good"])
    assert "can't be reached" in check(path, "http://127.0.0.1:1")[2]
    assert "is not a URL" in check(path, "nowhere")[2]
    assert "did not respond like a predictions server" in check(path, f"{server.address}/none")[2]
