"""`predictd.Client` beside uploads: what it reads, and what it leaves alone."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

import predictd
from conftest import Server, User
from predictd.client import Runtime, choose_runtime, python_of
from predictd.domain.errors import InvalidInputError, NotFoundError


@pytest.fixture(scope="module")
def alice(open_server: Server) -> User:
    return open_server.user("reader")


@pytest.fixture
def client(alice: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> predictd.Client:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return predictd.Client(alice.address, alice.token)


def test_importing_predictd_is_quick_because_the_client_is_loaded_when_it_is_used() -> None:
    code = "import sys, predictd; print(*sys.modules); predictd.Client; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = (set(line.split()) for line in done.stdout.splitlines())
    assert not before & {"requests", "numpy", "pydantic", "predictd.client"}
    assert "predictd.client" in after
    assert not after & {"numpy", "pyarrow", "pydantic", "mcp", "rich"}


def test_it_reads_all_that_there_is(client: predictd.Client, alice: User, tmp_path: Path) -> None:
    assert client.token_info().account == alice.username
    model = client.create_model("reading")
    assert client.model("READING") == model == client.model(model.id)
    assert [one.default for one in client.data_versions()] == [True]
    assert client.current_round() == client.rounds(limit=1)[0]
    assert "v5.3/live.parquet" in client.datasets()
    saved = client.download_dataset("v5.3/live.parquet", tmp_path / "live.parquet")
    assert len(pd.read_parquet(saved, columns=["era"])) == 200
    with pytest.raises(InvalidInputError, match="not a dataset name"):
        client.download_dataset("../live.parquet")
    assert (client.submissions("reading"), client.scores("reading"), client.diagnostics("reading")) == ([], [], [])
    assert client.graphql("query($n: String!) { modelNameAvailable(name: $n, tournament: 8) }", {"n": "reading"}) == {
        "modelNameAvailable": False
    }


def test_a_runtime_is_named_in_any_way_or_chosen_by_the_caller(
    client: predictd.Client, pickles: dict[str, bytes], tmp_path: Path
) -> None:
    [runtime] = client.runtimes()
    python = python_of(runtime)
    assert python is not None
    assert python in runtime.name
    for text in (python, runtime.name, runtime.image, f"{runtime.image}:{runtime.tag}", runtime.id):
        assert choose_runtime(str(text), [runtime]) == runtime
    with pytest.raises(NotFoundError, match=f"no runtime '2.7'. Available runtimes: {runtime.name}"):
        choose_runtime("2.7", [runtime])

    asked = []

    def choose(file: Path, runtimes: Sequence[Runtime]) -> Runtime | None:
        asked.append((file.name, list(runtimes)))
        return runtimes[0]

    path = tmp_path / "model.pkl"
    path.write_bytes(pickles["one_argument"])
    pickle = client.upload(path, choose=choose)
    assert (pickle.runtime, asked) == (runtime.name, [("model.pkl", [runtime])])
    assert [one.id for one in client.pickles(unassigned=True)] == [pickle.id]
