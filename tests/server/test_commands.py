"""The organiser's commands, beside a running server and without one."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from conftest import PREDICTD, ROOT, Server, User

COMMANDS = [
    ("serve",),
    ("run",),
    ("inspect",),
    ("check",),
    ("doctor",),
    ("account",),
    ("account", "create"),
    ("account", "list"),
    ("token", "create"),
    ("token", "list"),
    ("token", "revoke"),
    ("runtime", "list"),
    ("runtime", "build"),
    ("runtime", "add"),
    ("runtime", "upgrade-check"),
    ("data", "list"),
    ("data", "import"),
    ("round", "open"),
    ("round", "close"),
    ("round", "list"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command: tuple[str, ...]) -> None:
    done = subprocess.run([PREDICTD, *command, "--help"], capture_output=True, text=True, check=True)
    assert f"Example: predictd {command[0]}" in " ".join(done.stdout.split())


@pytest.mark.parametrize("command", [("account",), ("runtime",), ("data",), ("round",)], ids=" ".join)
def test_every_list_has_json(server: Server, command: tuple[str, ...]) -> None:
    assert isinstance(json.loads(server.predictd(*command, "list", "--json").stdout), list)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("account", "create", "no spaces"), "use 1 to 40 letters"),
        (("token", "create", "nobody"), "predictd account create nobody"),
        (("runtime", "build", "2.7"), "3.10, 3.11, 3.12, 3.13"),
        (("round", "open", "--length", "soon"), "5m"),
        (("data", "import", "/does/not/exist", "--version", "v9"), "/does/not/exist"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(server: Server, command: tuple[str, ...], message: str) -> None:
    done = server.predictd(*command, check=False)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_account_is_made_once(server: Server, user: User) -> None:
    done = server.predictd("account", "create", user.username.upper(), check=False)
    assert (done.returncode, "already taken" in done.stderr) == (1, True)


def test_a_second_server_does_not_take_the_data_dir(server: Server) -> None:
    done = subprocess.run(
        [PREDICTD, "serve", "--port", "0"], env=server.environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "Another predictd server runs in" in done.stderr) == (1, True)


def test_downloaded_files_become_a_data_version_that_pickles_run_on(
    new_server: Callable[..., Server], pickles: dict[str, bytes], tmp_path: Path
) -> None:
    server = new_server()
    user = server.user("alice")
    source = server.home / "storage" / "data" / "v5.3"
    downloaded = tmp_path / "v9.9"
    downloaded.mkdir()
    for name in ("features.json", "live.parquet", "live_benchmark_models.parquet"):
        (downloaded / name).write_bytes((source / name).read_bytes())
    server.open_round()
    server.predictd("data", "import", str(downloaded), "--version", "v9.9", "--default")
    assert "v9.9/live.parquet" in user.ask("{ listDatasets }")["listDatasets"]
    model_id = user.add_model("imported")
    pickle_id = user.upload(pickles["good"], model_id)
    pickle = user.wait(pickle_id)
    assert pickle["triggers"][0]["status"] == "submission_succeeded"
    [submission] = user.submissions(model_id)
    url = user.ask("query($x: ID!) { submissionDownloadAuth(id: $x) { url } }", x=submission["id"])
    predictions = pd.read_csv(url["submissionDownloadAuth"]["url"])
    assert list(predictions["id"]) == list(pd.read_parquet(downloaded / "live.parquet", columns=["era"]).index)


def test_a_pickle_runs_in_the_python_that_was_chosen(
    server: Server, user: User, other_python_pickle: bytes | None
) -> None:
    other = other_runtime()
    if other is None or other_python_pickle is None:
        pytest.skip("this machine has one Python only")
    server.predictd("runtime", "build", other)
    image = f"numerai_predict_py_{other.replace('.', '_')}"
    pickle = user.wait(user.upload(other_python_pickle, image=image))
    assert pickle["validationStatus"] == "validated"


def test_rounds_open_by_the_calendar_and_once(new_server: Callable[..., Server], pickles: dict[str, bytes]) -> None:
    server = new_server(calendar="every 8s")
    user = server.user("alice")
    model_id = user.add_model("periodic")
    pickle_id = user.upload(pickles["one_argument"], model_id)
    pickle = user.wait(pickle_id, runs=3, seconds=60)
    rounds = json.loads(server.predictd("round", "list", "--json").stdout)
    numbers = [one["number"] for one in rounds]
    assert numbers == list(range(len(numbers), 0, -1))
    assert len({one["open_time"] for one in rounds}) == len(rounds)
    live = [one["roundId"] for one in pickle["triggers"] if one["type"] == "live"]
    assert len(set(live)) == len(live) >= 1


def other_runtime() -> str | None:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from prepare_tests import other_spec
    finally:
        sys.path.pop(0)
    spec = other_spec()
    return spec.python if spec is not None else None
