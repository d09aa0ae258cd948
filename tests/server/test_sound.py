"""`predictd doctor` on a deployment: what is well, and what is broken by itself and told with its remedy."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import update

from conftest import Server
from predictd.db import Database
from predictd.db.tables import Trigger


def found(server: Server, **changes: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code and the checks by name, with some settings changed."""
    environment = server.environment | {f"PREDICTD_{name.upper()}": value for name, value in changes.items()}
    done = Server(server.home, environment).predictd("doctor", "--json", check=False)
    return done.returncode, {one["name"]: one for one in json.loads(done.stdout)["checks"]}


def test_a_running_server_is_sound(server: Server) -> None:
    code, checks = found(server)
    bad = {name: one["told"] for name, one in checks.items() if one["state"] == "fail"}
    assert (code, bad) == (0, {})
    good = ("clock", "database", "schema", "storage", "transfers", "leases", "runtimes", "data", "server", "packages")
    assert {name: checks[name]["state"] for name in good} == dict.fromkeys(good, "ok")
    assert "by presigned URLs" in checks["transfers"]["told"]
    assert not list((server.home / "storage").rglob("doctor/*")), "the probe is gone"
    assert "ok    server: http" in server.predictd("doctor").stdout


def test_what_is_broken_is_told_and_keeps_nothing_else_from_being_told(
    new_server: Callable[..., Server], pickles: dict[str, bytes]
) -> None:
    server = new_server()
    user = server.user("alice")
    user.wait(user.upload(pickles["one_argument"], user.add_model("one")))
    server.stop()
    database = Database(server.environment["PREDICTD_DATABASE_URL"])
    with database.write() as session:
        then = datetime.now(UTC) - timedelta(hours=1)
        session.execute(update(Trigger).values(state="running", lease_owner="gone/1/0", lease_expires_at=then))
    database.close()
    shutil.rmtree(server.home / "storage" / "data")
    code, checks = found(server, runtimes_dir=str(server.home / "elsewhere"))
    assert code == 1
    failed = {name for name, one in checks.items() if one["state"] == "fail"}
    assert failed == {"leases", "runtimes", "data"}
    assert "live.parquet of v5.3 is gone" in checks["data"]["told"]
    assert (checks["runtimes"]["remedy"], checks["server"]["state"]) == (
        "Build it here: predictd runtime build.",
        "warn",
    )

    code, checks = found(server, database_url="postgresql+psycopg://nobody@127.0.0.1:1/none")
    assert code == 1
    assert checks["database"]["state"] == checks["queue"]["state"] == "fail"
    assert checks["storage"]["state"] == checks["clock"]["state"] == "ok"


def test_looking_makes_nothing(server: Server) -> None:
    nothing = server.home.parent / "nothing"
    code, checks = found(server, data_dir=str(nothing), database_url="")
    assert (code, checks["database"]["state"], nothing.exists()) == (0, "warn", False)
