"""The examples run as they stand, against a real server."""

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from conftest import ROOT, RUNTIMES, Server

NOTEBOOK = ROOT / "examples" / "first_upload.ipynb"


def test_the_notebook_goes_from_data_to_success(
    make_server: Callable[..., AbstractContextManager[Server]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not list(RUNTIMES.glob(f"numerai_predict_py_{python.replace('.', '_')}-*")):
        pytest.skip(f"no runtime of this notebook's Python, {python}, is built")
    with make_server() as server:
        server.predictd("runtime", "build", python)
        server.open_round()
        user = server.user("newcomer")
        for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "IPYTHONDIR"):
            monkeypatch.setenv(name, str(tmp_path / name.lower()))
        monkeypatch.setenv("PREDICTD_SERVER", server.address)
        monkeypatch.setenv("PREDICTD_TOKEN", f"{user.public_id}${user.secret_key}")
        for name in [name for name in os.environ if name.startswith("NUMERAI")]:
            monkeypatch.delenv(name)
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        NotebookClient(
            notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
        ).execute()
        printed = "".join(
            output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []) if "text" in output
        )
        assert "success" in printed
        assert "validationCorrMean" in printed
        [submission] = user.submissions(user.ask("{ account { models { id } } }")["account"]["models"][0]["id"])
        assert submission["selected"]


def test_the_notebook_is_kept_without_what_it_printed() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]
