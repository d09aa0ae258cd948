"""`predictd run`: one model on this machine, by the flags of the public debug container."""

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlencode

import pandas as pd
import pytest
import requests
from packaging.requirements import Requirement
from python_multipart import parse_form

from conftest import PREDICTD, ROOT, Server

Done = "subprocess.CompletedProcess[str]"


@dataclass
class Desk:
    """A folder with pickles and live data, and `predictd run` in it."""

    folder: Path
    environment: dict[str, str]
    server: Server

    @property
    def outputs(self) -> list[Path]:
        return sorted(self.folder.glob("out/live_predictions-*.csv"))

    def run(self, *arguments: str, **environment: str) -> Done:
        return subprocess.run(
            [PREDICTD, "run", "--output_dir", "out", *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def run_model(self, name: str, *arguments: str, **environment: str) -> Done:
        return self.run("--model", f"{name}.pkl", "--dataset", "live.parquet", *arguments, **environment)

    def live_ids(self) -> list[str]:
        return list(pd.read_parquet(self.folder / "live.parquet", columns=["era"]).index)


@pytest.fixture
def desk(server: Server, pickles: dict[str, bytes], tmp_path: Path) -> Desk:
    for name, content in pickles.items():
        (tmp_path / f"{name}.pkl").write_bytes(content)
    for name in ("live.parquet", "live_benchmark_models.parquet"):
        (tmp_path / name).write_bytes(dataset(server, f"v5.3/{name}"))
    (tmp_path / "out").mkdir()
    kept = {name: value for name, value in server.environment.items() if not name.startswith("PREDICTD_DATABASE")}
    return Desk(tmp_path, kept | {"PREDICTD_DATA_DIR": str(tmp_path / "unused")}, server)


def dataset(server: Server, name: str) -> bytes:
    query = "query($f: String!) { dataset(filename: $f) }"
    answer = requests.post(server.address, json={"query": query, "variables": {"f": name}}, timeout=60).json()
    return requests.get(answer["data"]["dataset"], timeout=60).content


# Models


def test_right_predictions_become_a_csv_with_the_live_ids(desk: Desk) -> None:
    done = desk.run_model("good", "--debug")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    [path] = desk.outputs
    assert re.fullmatch(r"live_predictions-[0-9a-f]{12}\.csv", path.name)
    predictions = pd.read_csv(path)
    assert list(predictions.columns) == ["id", "prediction"]
    assert list(predictions["id"]) == desk.live_ids()
    assert predictions["prediction"].between(0, 1).all()
    assert f"predicting {len(predictions)} rows" in done.stderr
    assert path.name in done.stderr
    assert re.search(r"The model used .* of memory", done.stderr)
    assert not (desk.folder / "unused").exists(), "a run keeps nothing in a server's data dir"


@pytest.mark.parametrize(
    ("name", "code", "told"),
    [
        ("returns_nan", "nan_predictions", "1 of 200 predictions are NaN"),
        ("drops_rows", "missing_ids", "7 of 200 live ids have no prediction"),
        ("raises", "exception", "KeyError: 'feature_that_was_renamed'"),
        ("opens_a_socket", "network_access", "tried to use the network"),
        ("three_arguments", "bad_signature", "takes 3 "),
    ],
)
def test_a_failing_model_is_told_by_code_cause_and_remedy(desk: Desk, name: str, code: str, told: str) -> None:
    done = desk.run_model(name, "--json")
    assert done.returncode == 1
    assert desk.outputs == []
    report = json.loads(done.stdout)
    assert (report["ok"], report["code"], report["predictions"]) == (False, code, None)
    assert told in report["message"]
    assert f"({code}): {report['message']}" in done.stderr
    assert list(report["stages"])[:2] == ["import", "unpickle"]
    assert report["peak_memory_bytes"] > 0
    assert report["limits"]["seconds"] == 45


def test_what_a_model_prints_and_its_traceback_are_shown_but_cannot_steer_the_terminal(
    desk: Desk, default_python: str
) -> None:
    source = 'def predict(live):\n    print("\\x1b]0;title\\x07 red: \\x1b[31m ü")\n    return None[0]\n'
    write = "import sys, cloudpickle; exec(sys.argv[1]); cloudpickle.dump(predict, open(sys.argv[2], 'wb'))"
    subprocess.run([default_python, "-c", write, source, str(desk.folder / "escapes.pkl")], check=True)
    done = desk.run_model("escapes")
    assert done.returncode == 1
    assert "ü" in done.stderr
    assert "TypeError: 'NoneType' object is not subscriptable" in done.stderr
    assert "\x1b" not in done.stderr
    assert "--debug" in done.stderr


def test_a_terminal_shows_the_line_that_is_rewritten_and_then_its_last_state(desk: Desk, default_python: str) -> None:
    source = (
        "import sys\ndef predict(live):\n    print('loading')\n"
        "    for step in range(101): sys.stderr.write(f'\\r{step}% \\x1b[31mred\\x1b[0m'); sys.stderr.flush()\n"
        "    return live.iloc[:, 5].rank(pct=True).to_frame('prediction')\n"
    )
    write = "import sys, cloudpickle; exec(sys.argv[1]); cloudpickle.dump(predict, open(sys.argv[2], 'wb'))"
    subprocess.run([default_python, "-c", write, source, str(desk.folder / "bar.pkl")], check=True)
    assert re.search(r"^loading\n100% red$", desk.run_model("bar").stderr, re.MULTILINE)
    ours, theirs = pty.openpty()
    command = [PREDICTD, "run", "--output_dir", "out", "--model", "bar.pkl", "--dataset", "live.parquet"]
    with subprocess.Popen(command, cwd=desk.folder, env=desk.environment, stderr=theirs) as running:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the other side of the terminal is closed
            while part := os.read(ours, 65536):
                shown += part
    os.close(ours)
    assert running.returncode == 0
    assert b"\r\x1b[K100% red\r\n" in shown
    assert b"\x1b[31mred" not in shown


def test_a_pickle_of_another_python_is_told_which_runtime_to_choose(
    desk: Desk, other_python_pickle: bytes | None
) -> None:
    if other_python_pickle is None:
        pytest.skip("this machine has runtimes of one Python only")
    (desk.folder / "other.pkl").write_bytes(other_python_pickle)
    done = desk.run_model("other")
    assert done.returncode == 1
    assert "(python_mismatch)" in done.stderr
    advice = re.search(r"predictd run .* --runtime (3\.\d+)\n", done.stderr)
    assert advice, done.stderr
    assert desk.run_model("other", "--runtime", f"Python {advice[1]}").returncode == 0


def test_the_runtime_may_be_named_by_version_image_tag_or_folder(desk: Desk) -> None:
    runtime = json.loads(desk.run_model("good", "--json").stdout)["runtime"]
    folder = Path(runtime["python"]).parents[1]
    for name in (f"ghcr.io/someone/{runtime['image']}:latest", runtime["tag"], str(folder)):
        done = desk.run_model("one_argument", "--json", "--runtime", name)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["runtime"] == runtime
    done = desk.run_model("one_argument", "--runtime", "2.7")
    assert done.returncode == 1
    assert "The runtime '2.7' does not exist. Choose one of: 3.10, 3.11" in done.stderr


def test_limits_are_those_of_the_settings(desk: Desk) -> None:
    done = desk.run_model("loops_for_ever", "--json", PREDICTD_RUN_SECONDS="2")
    report = json.loads(done.stdout)
    assert (done.returncode, report["code"]) == (1, "timeout")
    assert "not ended after 2 seconds" in report["message"]


def test_a_machine_that_cannot_isolate_runs_a_model_only_when_told_to_trust_it(desk: Desk) -> None:
    without_bubblewrap = {"PATH": "/nowhere"}
    done = desk.run_model("one_argument", **without_bubblewrap)
    assert done.returncode == 1
    assert "apt-get install bubblewrap" in done.stderr
    assert "--trust-users" in done.stderr
    done = desk.run_model("one_argument", "--trust-users", "--json", **without_bubblewrap)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sandbox"] == "none"


# Files


def test_live_data_is_downloaded_by_name_and_by_default_of_the_newest_version(desk: Desk) -> None:
    address = desk.server.address
    done = desk.run("--model", "good.pkl", "--server", address, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["dataset"] == "out/v5.3/live.parquet"
    assert report["benchmarks"] == "out/v5.3/live_benchmark_models.parquet"
    assert list(pd.read_csv(report["predictions"] and desk.folder / report["predictions"])["id"]) == desk.live_ids()

    named = ("--dataset", "v5.3/live.parquet", "--benchmarks", "v5.3/live_benchmark_models.parquet")
    assert desk.run("--model", "good.pkl", *named, PREDICTD_SERVER=address).returncode == 0

    done = desk.run("--model", "good.pkl", "--dataset", "v9.9/live.parquet", "--server", address)
    assert done.returncode == 1
    assert "Dataset 'v9.9/live.parquet' not found" in done.stderr


def test_files_that_do_not_belong_together_or_are_missing_are_refused_before_the_run(desk: Desk) -> None:
    benchmarks = pd.read_parquet(desk.folder / "live_benchmark_models.parquet")
    benchmarks.iloc[5:].to_parquet(desk.folder / "fewer.parquet")
    (desk.folder / "text.parquet").write_text("id,era\n")
    for arguments, told in (
        (("--benchmarks", "fewer.parquet"), "fewer.parquet lacks 5 of the 200 ids of live.parquet"),
        (("--benchmarks", "nowhere.parquet"), "The file nowhere.parquet does not exist"),
        (("--dataset", "text.parquet"), "text.parquet can't be read as a parquet file"),
        (("--dataset", "/nowhere/live.parquet"), "The file /nowhere/live.parquet does not exist"),
        (("--model", "nowhere.pkl"), "The file nowhere.pkl does not exist"),
        (("--model", "http://127.0.0.1:9/model.pkl"), "http://127.0.0.1:9/model.pkl is unreachable"),
    ):
        done = desk.run_model("good", *arguments, "--json")
        assert done.returncode == 1
        assert told in done.stderr
        assert told in json.loads(done.stdout)["message"]
        assert "Running" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--post_url", "http://127.0.0.1/"), "--post_url also needs --post_data"),
        (("--post_data", "a=b"), "--post_data also needs --post_url"),
        (("--post_url", "http://127.0.0.1/", "--post_data", "nothing"), "must be urlencoded"),
        (("--output_dir", "nowhere"), "nowhere is not an existing folder"),
        (("--no-such-option",), "No such option"),
    ],
)
def test_wrong_options_are_refused_with_exit_code_2(desk: Desk, arguments: tuple[str, ...], told: str) -> None:
    done = desk.run_model("good", *arguments, COLUMNS="300")
    assert done.returncode == 2
    assert told in done.stderr


# Other people's servers


@dataclass
class Place:
    """An HTTP server of files and presigned POSTs, whose first answers can be bad ones."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    bad_answers: dict[str, list[int]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    posted: list[tuple[dict[str, str], tuple[str, bytes]]] = field(default_factory=list)


HANG_UP = 0


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            bad = self.bad_answer(path)
            content = place.files.get(path, b"")
            self.answer(bad or (200 if content else 404), content, hang_up=bad == HANG_UP)

        def do_POST(self) -> None:
            fields: dict[str, str] = {}
            files: list[tuple[str, bytes]] = []
            parse_form(
                {"Content-Type": self.headers["Content-Type"], "Content-Length": self.headers["Content-Length"]},
                self.rfile,
                lambda one: fields.update({one.field_name.decode(): (one.value or b"").decode()}),
                lambda one: files.append((one.file_name.decode(), read(one.file_object))),
            )
            place.posted.append((fields, files[0]))
            self.answer(self.bad_answer(self.path) or 204, b"")

        def bad_answer(self, path: str) -> int | None:
            place.requests[path] += 1
            answers = place.bad_answers.get(path, [])
            return answers.pop(0) if answers else None

        def answer(self, status: int, content: bytes, *, hang_up: bool = False) -> None:
            self.send_response(status)
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if hang_up else content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        place.address = f"http://127.0.0.1:{http.server_address[1]}"
        Thread(target=http.serve_forever, daemon=True).start()
        yield place
        http.shutdown()


def read(file: object) -> bytes:
    file.seek(0)  # type: ignore[attr-defined]
    return bytes(file.read())  # type: ignore[attr-defined]


def test_model_and_data_may_be_urls_and_a_server_may_have_bad_moments(desk: Desk, place: Place) -> None:
    place.files = {
        "/models/model.pkl": (desk.folder / "good.pkl").read_bytes(),
        "/live.parquet": (desk.folder / "live.parquet").read_bytes(),
        "/benchmarks.parquet": (desk.folder / "live_benchmark_models.parquet").read_bytes(),
    }
    place.bad_answers = {"/models/model.pkl": [503, 502], "/live.parquet": [HANG_UP]}
    signed = f"{place.address}/models/model.pkl?signature=secret"
    urls = ("--dataset", f"{place.address}/live.parquet", "--benchmarks", f"{place.address}/benchmarks.parquet")
    done = desk.run("--model", signed, *urls, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == "out/model.pkl"
    assert place.requests == {"/models/model.pkl": 3, "/live.parquet": 2, "/benchmarks.parquet": 1}
    assert "secret" not in done.stderr

    done = desk.run_model("good", "--model", f"{place.address}/gone.pkl?signature=secret")
    assert done.returncode == 1
    assert "/gone.pkl responded with 404" in done.stderr
    assert "secret" not in done.stderr


def test_predictions_are_sent_to_a_presigned_post(desk: Desk, place: Place) -> None:
    fields = {"key": "predictions/1 & 2.csv", "policy": "a+b/c==", "empty": ""}
    place.bad_answers = {"/bucket": [500]}
    to = ("--post_url", f"{place.address}/bucket", "--post_data", urlencode(fields))
    done = desk.run_model("good", *to)
    assert done.returncode == 0, done.stderr
    [path] = desk.outputs
    assert place.posted == [(fields, (path.name, path.read_bytes()))] * 2

    place.bad_answers = {"/bucket": [403]}
    done = desk.run_model("good", *to)
    assert done.returncode == 1
    assert "responded with 403" in done.stderr
    [kept] = [one for one in desk.outputs if one != path]
    assert str(kept.relative_to(desk.folder)) in done.stderr

    done = desk.run_model("returns_nan", *to)
    assert done.returncode == 1
    assert len(place.posted) == 3, "nothing is sent of a model that failed"


# The installation


def test_the_command_needs_nothing_of_the_server(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    servers = {Requirement(line).name.replace("-", "_") for line in project["optional-dependencies"]["server"]}
    code = "import sys, predictd.cli.app as app; app.build('run'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert {"requests", "pyarrow"} <= loaded
    assert not loaded & servers

    # What is not installed can't be imported, which an empty folder of that name on the path makes true here too.
    (tmp_path / "sqlalchemy.py").write_text("raise ModuleNotFoundError('no sqlalchemy', name='sqlalchemy')\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "COLUMNS": "200"}

    def predictd(*arguments: str) -> Done:
        command = [PREDICTD, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    command = predictd("account", "list")
    assert command.returncode == 1
    assert "predictd account needs sqlalchemy" in command.stderr
    assert "pip install '.[server]'" in command.stderr
    shown = predictd("--help")
    assert shown.returncode == 0, shown.stderr
    assert "pip install '.[server]'" in shown.stdout
