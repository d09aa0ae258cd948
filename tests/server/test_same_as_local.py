"""A model ends on the server as it does in `predictd run`: the same code, the same words, the same predictions."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from conftest import PREDICTD, ROOT, Server, User

GOOD = ("good", "one_argument", "turned_round", "instance")
BAD = {
    "other_python": "python_mismatch",
    "needs_a_missing_module": "import_error",
    "returns_nan": "nan_predictions",
    "returns_two": "out_of_range",
    "drops_rows": "missing_ids",
    "returns_a_series": "not_a_dataframe",
    "raises": "exception",
    "takes_8_gb": "out_of_memory",
}
MORE_MODELS = """
import sys, cloudpickle

def turned_round(live_features, live_benchmark_models=None):
    ranks = live_features.iloc[:, 7].rank(pct=True, method="first").to_frame("mine")
    return (ranks ** (1 / 3)).assign(other="not looked at").iloc[::-1]

class Model:
    def __call__(self, live_features):
        return live_features.iloc[:, 9].rank(pct=True, method="first").to_frame()

for name, model in (("turned_round", turned_round), ("instance", Model())):
    with open(f"{sys.argv[1]}/{name}.pkl", "wb") as file:
        cloudpickle.dump(model, file)
"""


@dataclass
class Both:
    """A server with an open round, and a folder for `predictd run` on that round's data."""

    server: Server
    user: User
    folder: Path

    def on_server(self, name: str, content: bytes) -> tuple[dict[str, Any], bytes | None]:
        """The last status of the model's run on the server, and the file that it submitted."""
        model_id = self.user.add_model(name[:20])
        run = self.user.wait(self.user.upload(content, model_id))["triggers"][0]
        submissions = self.user.submissions(model_id)
        if not submissions:
            return run, None
        query = "query($id: ID!) { submissionDownloadAuth(id: $id) { url } }"
        url = self.user.ask(query, id=submissions[0]["id"])["submissionDownloadAuth"]["url"]
        return run, requests.get(url, timeout=60).content

    def here(self, name: str, content: bytes) -> dict[str, Any]:
        """The report of `predictd run --json`."""
        (self.folder / f"{name}.pkl").write_bytes(content)
        command = [PREDICTD, "run", "--json", "--model", f"{name}.pkl", "--server", self.server.address]
        done = subprocess.run(
            [*command, "--output_dir", "."],
            cwd=self.folder,
            env=self.server.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        report: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if report["ok"] else 1), done.stderr
        return report


@pytest.fixture(scope="module")
def both(make_server: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with make_server(run_memory_mb=600) as server:
        server.open_round()
        yield Both(server, server.user("alice"), tmp_path_factory.mktemp("local"))


@pytest.fixture(scope="module")
def models(
    pickles: dict[str, bytes],
    default_python: str,
    other_python_pickle: bytes | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("more")
    subprocess.run([default_python, "-c", MORE_MODELS, str(folder)], check=True, cwd=ROOT)
    more = {path.stem: path.read_bytes() for path in folder.glob("*.pkl")}
    return pickles | more | ({"other_python": other_python_pickle} if other_python_pickle is not None else {})


@pytest.mark.parametrize("name", GOOD)
def test_a_good_model_makes_the_same_file(both: Both, models: dict[str, bytes], name: str) -> None:
    run, submitted = both.on_server(name, models[name])
    report = both.here(name, models[name])
    assert (run["status"], report["code"]) == ("submission_succeeded", None)
    assert submitted == (both.folder / report["predictions"]).read_bytes()
    assert without_measures(report["message"]) in without_measures(run["statuses"][-1]["description"])


@pytest.mark.parametrize("name", BAD)
def test_a_bad_model_fails_in_the_same_words(both: Both, models: dict[str, bytes], name: str) -> None:
    if name not in models:
        pytest.skip("this machine has runtimes of one Python only")
    run, submitted = both.on_server(name, models[name])
    report = both.here(name, models[name])
    assert (run["status"], report["code"]) == ("model_failed", BAD[name])
    assert submitted is None
    assert report["predictions"] is None
    assert without_measures(run["statuses"][-1]["description"]) == without_measures(report["message"])
    logged = both.user.logs(run["id"])[-1]
    assert logged.startswith(f"[predictd] {report['code']}: ")


def without_measures(text: str) -> str:
    """The text without what differs from run to run: seconds, MiB and shares."""
    return re.sub(r"(\d+(\.\d+)?|under 1)(?= (s|MiB|%)\b| %| of \d)", "#", text)
