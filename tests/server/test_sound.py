"""`predictd doctor` on a deployment: what is well, and what is broken by itself and told with its remedy."""

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import update

from conftest import Server
from predictd.db import Database
from predictd.db.models import Run
from predictd.doctor.deployment_checks import deployment_checks
from predictd.doctor.machine_checks import check_clock_rate
from predictd.monitoring.checks import State, ok, run_checks
from predictd.settings import Settings


def found(server: Server, **changes: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code and the checks by name, with some settings changed."""
    environment = server.environment | {f"PREDICTD_{name.upper()}": value for name, value in changes.items()}
    done = Server(server.home, environment).predictd("doctor", "--json", check=False)
    return done.returncode, {one["name"]: one for one in json.loads(done.stdout)["checks"]}


def test_a_running_server_is_sound(server: Server) -> None:
    code, checks = found(server)
    bad = {name: one["message"] for name, one in checks.items() if one["state"] == "fail"}
    assert (code, bad) == (0, {})
    good = ("clock", "database", "schema", "storage", "transfers", "leases", "runtimes", "data", "server", "packages")
    assert {name: checks[name]["state"] for name in good} == dict.fromkeys(good, "ok")
    assert "by presigned URLs" in checks["transfers"]["message"]
    assert not list((server.home / "storage").rglob("doctor/*")), "the probe is gone"


def test_what_is_broken_is_told_and_keeps_nothing_else_from_being_told(
    new_server: Callable[..., Server],
) -> None:
    server = new_server()
    user = server.user("alice")
    user.wait(user.upload(b"no pickle at all", user.add_model("one")))
    server.stop()
    database = Database(server.environment["PREDICTD_DATABASE_URL"])
    with database.write() as session:
        then = datetime.now(UTC) - timedelta(hours=1)
        session.execute(update(Run).values(state="running", lease_owner="gone/1/0", lease_expires_at=then))
    database.close()
    shutil.rmtree(server.home / "storage" / "data")
    code, checks = found(server, runtimes_dir=str(server.home / "elsewhere"))
    assert code == 1
    failed = {name for name, one in checks.items() if one["state"] == "fail"}
    assert failed == {"leases", "runtimes", "data"}
    assert "live.parquet of v5.3 is missing" in checks["data"]["message"]
    assert (checks["runtimes"]["remedy"], checks["server"]["state"]) == (
        "Build it here: predictd runtime build.",
        "warn",
    )

    unreachable = Settings(data_dir=server.home, database_url="postgresql+psycopg://nobody@127.0.0.1:1/none")
    checks = {
        one.name: asdict(one) for one in run_checks({**deployment_checks(unreachable), "clock": check_clock_rate})
    }
    assert checks["database"]["state"] == checks["queue"]["state"] == "fail"
    assert checks["storage"]["state"] == checks["clock"]["state"] == "ok"


def test_looking_makes_nothing(tmp_path: Path) -> None:
    checks = run_checks(deployment_checks(Settings(data_dir=tmp_path / "nothing", database_url="")))
    assert {one.state for one in checks} == {State.WARN}
    assert not (tmp_path / "nothing").exists()


def test_what_hangs_is_told_and_not_waited_for() -> None:
    hanging = threading.Event()
    checks = run_checks(
        {"slow": lambda: [ok("slow", str(hanging.wait(30)))], "quick": lambda: [ok("quick", "yes")]}, 0.2
    )
    hanging.set()
    assert [(one.name, one.state) for one in checks] == [("slow", State.FAIL), ("quick", State.OK)]
    assert checks[0].message == "no response within 0.2 s"
