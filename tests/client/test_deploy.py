"""The commands over a server, as a person or a script uses them."""

import json
import os
import re
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from browsing import Visitor, make_account
from conftest import PREDICTD, Server, User
from predictd.cli.app import build
from test_terminal import bars, lines_of, without_times

Done = "subprocess.CompletedProcess[str]"
COMMANDS = [
    *(("login",), ("deploy",), ("status",), ("logs",), ("run-now",), ("assign",), ("unassign",), ("rollback",)),
    *(("list",), ("download",), ("mcp",), ("profile",)),
    *(("profile", name) for name in ("add", "list", "use", "remove")),
]


@dataclass(frozen=True)
class Desk:
    """A folder with pickles, and commands run in it for one account."""

    folder: Path
    user: User
    environment: dict[str, str]

    def predictd(self, *arguments: str) -> Done:
        command = [PREDICTD, *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )

    def json(self, *arguments: str) -> object:
        done = self.predictd(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def desk(open_server: Server, pickles: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Desk:
    folder = tmp_path_factory.mktemp("desk")
    for name, content in pickles.items():
        (folder / f"{name}.pkl").write_bytes(content)
    user = open_server.user("deployer")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREDICTD_", "NUMERAI"))}
    home = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config"), "XDG_CACHE_HOME": str(folder / "cache")}
    return Desk(folder, user, kept | home | {"PREDICTD_SERVER": user.address, "PREDICTD_TOKEN": user.token})


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(build(command[0]), [*command, "--help"])
    assert f"Example: predictd {command[0]}" in " ".join(shown.output.split())


def test_a_right_model_is_deployed_and_ends_in_success(desk: Desk) -> None:
    done = desk.predictd("deploy", "good.pkl", "--model", "right", "--create", "--assign", "--wait", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["outcome"], answer["validation"], len(answer["assigned_model_ids"])) == ("success", "validated", 1)
    told = [line.split()[0] for line in done.stderr.splitlines() if line[:4] in ("Pend", "Runn", "Vali", "Succ")]
    assert told == ["Pending", "Running", "Validating", "Success"]
    assert "│ predicting" in done.stderr
    assert "Submitted to round 1 for right" in answer["reason"]
    [submission] = desk.user.submissions(answer["model_id"])
    assert submission["selected"]
    [row] = desk.json("list", "--model", "right")  # type: ignore[misc]
    assert (row["serves"], row["status"]) == (["right"], "Success")
    saved = desk.predictd("download", "right", "--output", "back.pkl")
    assert saved.returncode == 0, saved.stderr
    assert (desk.folder / "back.pkl").read_bytes() == (desk.folder / "good.pkl").read_bytes()


def test_a_wrong_model_ends_in_failed_with_the_reason_and_the_remedy(desk: Desk) -> None:
    done = desk.predictd("deploy", "returns_nan.pkl", "--model", "wrong", "--create", "--wait", "--json")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["outcome"] == "failed"
    assert "1 of 200 predictions are NaN" in answer["reason"]
    assert "Fill missing values" in answer["reason"]
    assert "Failed" in done.stderr
    status = desk.predictd("status", "wrong")
    assert "Fill missing values" in status.stdout


def test_what_is_nobodys_model_at_fault_ends_with_2(desk: Desk) -> None:
    done = desk.predictd("deploy", "good.pkl", "--server", "http://127.0.0.1:9", "--wait")
    assert (done.returncode, "is unreachable" in done.stderr) == (2, True)
    wrong = desk.predictd("deploy", "good.pkl", "--model", "nobody")
    assert (wrong.returncode, "You have no model 'nobody'" in wrong.stderr) == (1, True)
    text = desk.predictd("deploy", "missing.pkl", "--model", "never_made", "--create")
    assert (text.returncode, "missing.pkl can't be read" in text.stderr) == (1, True)
    assert "never_made" not in desk.predictd("list", "--models").stdout


def test_a_rollback_puts_the_pickle_back_that_served_before(desk: Desk) -> None:
    uploads = []
    for name in ("good", "one_argument", "raises", "good"):
        done = desk.predictd("deploy", f"{name}.pkl", "--model", "history", "--create", "--wait", "--json")
        uploads.append(json.loads(done.stdout)["id"])
    first, second, _failed, third = uploads
    assert serving(desk) == third
    assert desk.json("rollback", "history")["id"] == second  # type: ignore[index]
    assert serving(desk) == second
    assert desk.json("rollback", "history")["id"] == first  # type: ignore[index]
    none = desk.predictd("rollback", "history")
    assert (none.returncode, "no previous validated pickle" in none.stderr) == (1, True)
    assert desk.predictd("unassign", "history").returncode == 0
    assert serving(desk) is None
    assert desk.predictd("assign", "history", third).returncode == 0
    assert serving(desk) == third
    queued = desk.predictd("run-now", "history", "--wait")
    assert (queued.returncode, "Success" in queued.stderr) == (0, True)


def test_logs_are_followed_line_by_line_while_the_model_runs(desk: Desk) -> None:
    pickle_id = desk.predictd("deploy", "talks.pkl").stdout.strip()
    command = [PREDICTD, "logs", pickle_id, "--follow"]
    arrived = []
    with subprocess.Popen(
        command, env=desk.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as following:
        assert following.stdout is not None
        for line in following.stdout:
            arrived.append((line.strip(), time.monotonic()))
    assert [line for line, _ in arrived] == [f"line {number}" for number in range(5)]
    assert arrived[-1][1] - arrived[0][1] > 0.5
    assert following.returncode == 0
    assert [one["message"] for one in desk.json("logs", pickle_id)] == [line for line, _ in arrived]  # type: ignore[attr-defined]


_PRINTS = """
import os, sys, cloudpickle
printed = open(sys.argv[1], "rb").read()
def predict(live_features):
    for start in range(0, len(printed), 10_000):
        os.write(2, printed[start : start + 10_000])
    return live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")
cloudpickle.dump(predict, open(sys.argv[2], "wb"))
"""


def test_progress_bars_look_as_in_a_terminal_wherever_the_log_is_shown(
    desk: Desk, open_server: Server, default_python: str
) -> None:
    user = make_account(open_server, "watcher")
    desk = replace(desk, user=user, environment=desk.environment | {"PREDICTD_TOKEN": user.token})
    visitor = Visitor(user.address)
    visitor.sign_in("watcher")
    (desk.folder / "printed").write_bytes(bars())
    command = [default_python, "-c", _PRINTS, desk.folder / "printed", desk.folder / "bars.pkl"]
    subprocess.run(command, check=True, timeout=60)
    shown = [without_times(line) for line in lines_of(bars())]
    assert len(shown) == 5
    done = desk.predictd("deploy", "bars.pkl", "--wait", "--json")
    assert done.returncode == 0, done.stderr
    pickle = json.loads(done.stdout)
    followed = [line.removeprefix("  │ ") for line in done.stderr.splitlines() if line.startswith("  │ ")]
    logged = [one["message"] for one in desk.json("logs", pickle["id"])]  # type: ignore[attr-defined]
    printed = desk.predictd("logs", pickle["id"]).stdout.splitlines()
    run_id = desk.json("status", pickle["id"])["runs"][-1]["id"]  # type: ignore[index]
    page = visitor.get(f"/runs/{run_id}").text
    file = visitor.get(f"/runs/{run_id}/log").text.splitlines()
    assert "29999/30000" not in page
    paged = re.findall(r'aria-hidden="true"></span><span>([^<]*)</span></div>', page)
    for lines in (followed, logged, printed, file, paged):
        assert [without_times(line) for line in lines] == shown


def serving(desk: Desk) -> str | None:
    models = desk.json("list", "--models")
    return next(one["pickle_id"] for one in models if one["name"] == "history")  # type: ignore[attr-defined]
