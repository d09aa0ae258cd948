"""What lies in deploy/ is what its own tools take, and says only what predictd understands."""

import ipaddress
import json
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer.main
import yaml

from conftest import ROOT
from predictd.cli.app import build
from predictd.settings import Settings

DEPLOY = ROOT / "deploy"
# Of a pod's container, as Kubernetes has it; what else may stand there is not for a node.
CONTAINER = {
    "name": str,
    "image": str,
    "command": list,
    "env": list,
    "ports": list,
    "resources": dict,
    "securityContext": dict,
    "livenessProbe": dict,
    "readinessProbe": dict,
    "volumeMounts": list,
}


# Where an instruction or a command stands that somebody follows.
FOLLOWED = ("README.md", "SECURITY.md", "Makefile", "docs", "deploy", "skills", "examples", "scripts", "src")
INSTALL = re.compile(r"(?:\b(?:pip3?|pipx|uv tool) (?:-\S+ )*(?:install|run)|\buvx)\b")
FROM_AN_INDEX = re.compile(r"predictd(\[[\w,]*\])?([=<>~!@].*)?")


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def test_the_compose_file_is_one_by_the_schema_of_compose() -> None:
    command = [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, DEPLOY / "compose.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_file_names_only_what_it_has() -> None:
    [compose] = documents("compose.yaml")
    services = compose["services"]
    for service in services.values():
        assert set(service["networks"]) <= set(compose["networks"])
        assert set(service.get("depends_on", {})) <= set(services)
        for volume in service.get("volumes", []):
            name = volume.partition(":")[0]
            assert name.startswith("/") or name in compose["volumes"]
    example = set(re.findall(r"^(\w+)=", (DEPLOY / "example.env").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?<!\$)\$\{(\w+)", (DEPLOY / "compose.yaml").read_text())) == example
    # Secrets are left to fill in, and compose starts with none of them empty.
    text = (DEPLOY / "compose.yaml").read_text()
    values = dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / "example.env").read_text(), re.MULTILINE))
    secret = {name for name in values if re.search(r"PASSWORD|KEY|SECRET|TOKEN", name)}
    assert secret == {"POSTGRES_PASSWORD", "S3_KEY", "S3_SECRET", "RAY_TOKEN"}
    assert {values[name] for name in secret} == {""}
    assert secret == set(re.findall(r"(?<!\$)\$\{(\w+):\?", text))
    # What it says of a client's address is believed of the proxy alone, which reaches the servers from that address.
    proxy = services["proxy"]["networks"]["servers"]["ipv4_address"]
    assert services["server"]["environment"]["PREDICTD_TRUSTED_PROXIES"] == proxy == "${PROXY_ADDRESS:-172.28.238.2}"
    names = [service["networks"] for name, service in services.items() if name != "proxy"]
    names = [one["servers"]["aliases"] for one in names if isinstance(one, dict) and one.get("servers")]
    assert services["proxy"]["command"][-1].partition(":")[0] in names[0]
    assert {"internal", "ipam"} == set(compose["networks"]["servers"])
    assert ipaddress.ip_address(values["PROXY_ADDRESS"]) in ipaddress.ip_network(values["SERVERS_SUBNET"])
    # Whoever reaches Ray can run anything: only the proxy has a port outside, and Ray's network has no way out.
    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]
    assert compose["networks"]["cluster"] == {"internal": True}


def test_the_cluster_file_is_one_by_the_schema_of_ray() -> None:
    import ray.autoscaler
    from ray.autoscaler._private.util import prepare_config, validate_config

    [cluster] = documents("ray-cluster.yaml")
    schema = Path(ray.autoscaler.__file__).with_name("ray-schema.json")
    jsonschema.validate(cluster, json.loads(schema.read_text()))
    # As `ray up` looks at it, with its defaults filled in.
    validate_config(prepare_config(cluster))


def test_the_manifest_has_the_form_of_a_ray_cluster() -> None:
    """By its structure: KubeRay's own schema is not among the packages of the index."""
    from importlib.metadata import version

    cluster, policy = documents("kuberay.yaml")
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    assert cluster["metadata"]["annotations"] == {"ray.io/overwrite-container-cmd": "true"}
    spec = cluster["spec"]
    assert set(spec) == {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
    assert spec["rayVersion"] == version("ray")
    assert set(spec["headGroupSpec"]) == {"serviceType", "rayStartParams", "template"}
    [workers] = spec["workerGroupSpecs"]
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    for group in (spec["headGroupSpec"], workers):
        pod = group["template"]["spec"]
        assert set(pod) <= {"containers", "volumes", "terminationGracePeriodSeconds"}
        [container] = pod["containers"]
        for name, value in container.items():
            assert isinstance(value, CONTAINER[name]), name
        assert all(set(one) in ({"name", "value"}, {"name", "valueFrom"}) for one in container["env"])
        assert container["resources"]["limits"] == container["resources"]["requests"]
    assert policy["kind"] == "NetworkPolicy"
    assert policy["spec"]["podSelector"]["matchLabels"] == {"ray.io/cluster": cluster["metadata"]["name"]}


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command of predictd's in the folder, without its name."""
    [compose] = documents("compose.yaml")
    for name, service in compose["services"].items():
        if service["image"].startswith("predictd"):
            yield f"compose.yaml {name}", list(service["command"])
    [cluster] = documents("ray-cluster.yaml")
    for line in cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"]:
        if "bin/predictd " in line:
            yield "ray-cluster.yaml", shlex.split(line.partition("bin/predictd ")[2])
    spec = documents("kuberay.yaml")[0]["spec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        [container] = group["template"]["spec"]["containers"]
        assert container["command"][0] == "predictd"
        yield "kuberay.yaml", list(container["command"][1:])


@pytest.mark.parametrize(("where", "arguments"), list(commands()), ids=str)
def test_predictd_takes_each_command(where: str, arguments: list[str]) -> None:
    app = typer.main.get_command(build(arguments[0]))
    command = app.commands[arguments[0]]  # type: ignore[attr-defined]
    context = command.make_context(arguments[0], list(arguments[1:]))
    assert not context.args, where


def test_each_setting_is_one() -> None:
    known = {f"PREDICTD_{name.upper()}" for name in Settings.model_fields}
    for path in (*DEPLOY.glob("*.yaml"), DEPLOY / "docker" / "predictd" / "Dockerfile"):
        assert set(re.findall(r"\bPREDICTD_\w+", path.read_text())) <= known | {"PREDICTD_STORAGE_URL"}, path.name


def test_no_file_installs_predictd_from_an_index() -> None:
    """The name on the package index does not belong to the project: only a clone or a wheel is installed."""
    wrong = []
    for top in FOLLOWED:
        path = ROOT / top
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.suffix not in (".md", ".py", ".yaml", ".ipynb", ".toml", ".html", "") or not file.is_file():
                continue
            for line in file.read_text().splitlines():
                words = [word.strip("\"'`()[].,;:") for word in "".join(INSTALL.split(line.split(" #")[0])[1:]).split()]
                wrong += [f"{file.relative_to(ROOT)}: {line}" for word in words if FROM_AN_INDEX.fullmatch(word)]
    assert wrong == []


@pytest.mark.slow
def test_a_wheel_has_all_that_a_machine_without_the_clone_needs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 and "hatchling" in done.stderr:
        pytest.skip("the package index is out of reach")
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("predictd-*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    packaged = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src" / "predictd").rglob("*.py")}
    assert packaged - names == set()
    assert {"predictd/trees/libpredictd_trees.so", "predictd/runtimes/locks/core-py312.txt"} <= names
