"""An organiser's own runtimes: offered to uploads, run in, kept as long as a pickle needs them."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import PREDICTD, ROOT, Server


@pytest.mark.slow
def test_a_custom_runtime_is_offered_and_runs_pickles_until_its_name_gets_other_packages(
    new_server: Callable[..., Server], default_python: str, pickles: dict[str, bytes], tmp_path: Path
) -> None:
    default = Path(default_python).parents[1]
    (tmp_path / default.name).symlink_to(default)
    server = new_server(runtimes_dir=tmp_path)
    [known] = [one for one in json.loads(server.predictd("runtime", "list", "--json").stdout) if one["built"]]
    image, python = f"{known['image']}_mine", known["name"].removeprefix("Python ")
    mine = ["runtime", "add", "--python", python, "--name", "mine", "--json", "--requirements"]
    [added] = json.loads(server.predictd(*mine, str(ROOT / "tests" / "custom_runtime.txt")).stdout)
    assert added["image"] == image

    user = server.user("alice")
    offered = user.ask("{ computePickleDockerImages { id image tag default } }")["computePickleDockerImages"]
    chosen = next(one for one in offered if one["image"] == image)
    assert (chosen["tag"], chosen["default"]) == (added["tag"], False)
    model_id = user.add_model("custom")
    pickle_id = user.upload(pickles["one_argument"], model_id, image=chosen["id"])
    assert user.wait(pickle_id)["validationStatus"] == "validated"
    path = tmp_path / "model.pkl"
    for name, code in (("one_argument", 0), ("needs_a_missing_module", 1)):
        path.write_bytes(pickles[name])
        elsewhere = {"PREDICTD_RUNTIMES_DIR": str(tmp_path / "none"), "PATH": os.environ["PATH"]}
        command = [PREDICTD, "check", path, "--server", server.address, "--runtime", image]
        checked = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=elsewhere)
        assert checked.returncode == code, checked.stdout
    shown = json.loads(server.predictd("runtime", "show", image, "--json").stdout)
    assert {"scikit-learn", "pandas"} <= shown["packages"].keys()
    assert "lightgbm" not in shown["packages"]

    lock, less = Path(shown["lock"]), tmp_path / "less.txt"
    assert json.loads(server.predictd(*mine, str(lock)).stdout) == [added], "its lock makes it again"
    less.write_text("cloudpickle\n")
    replaced = server.predictd(*mine, str(less))
    [replacing] = json.loads(replaced.stdout)
    assert replacing["tag"] != added["tag"]
    assert f"It replaces {added['tag']} for new uploads" in replaced.stderr
    offered = user.ask("{ computePickleDockerImages { image tag } }")["computePickleDockerImages"]
    assert [one["tag"] for one in offered if one["image"] == image] == [replacing["tag"]]
    user.ask(
        "mutation($p: ID) { triggerComputePickleUpload(pickleId: $p, triggerValidation: true) { id } }", p=pickle_id
    )
    assert user.wait(pickle_id, runs=2)["validationStatus"] == "validated", "in the runtime that it was uploaded for"

    refused = server.predictd("runtime", "remove", added["tag"], check=False)
    assert (refused.returncode, "1 of the pickles use it" in refused.stderr) == (1, True)
    server.predictd("runtime", "remove", replacing["tag"])
    assert not Path(replacing["python"]).exists()
    assert Path(added["python"]).exists()
