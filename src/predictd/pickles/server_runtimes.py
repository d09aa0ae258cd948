"""Fetch the runtimes and data versions that a server offers, with its public queries."""

import json
import re
from dataclasses import replace
from typing import Any

import requests

from predictd.domain.errors import InvalidInputError, PredictdError
from predictd.pickles.runtime_target import Target
from predictd.runtimes.specs import RUNNER_NEEDS

_SECONDS = 30
_MAX_BYTES = 16 << 20
_PYTHON = re.compile(r"(?:py|python)[ _]?(3)[._](\d{1,2})", re.IGNORECASE)
_QUERY = """query {
  computePickleDockerImages { name image tag default %s }
  computePickleDataVersions { name version default }
}"""
# Fields that only predictd servers have.
_CONTENTS = "packages modules"


class UnreachableServerError(PredictdError):
    """The server cannot be reached."""

    code = "unreachable_server"


def fetch_server_runtimes(server: str, targets: list[Target]) -> tuple[list[Target], list[str]]:
    """Return the runtimes and the names of the data versions of a server, the defaults first.

    A predictd server lists the contents of its runtimes. For other servers, a runtime with a known tag has the packages
    of that runtime; for any other only the packages that every run needs are known, so it may have any module.

    Raises:
        UnreachableServerError: the server does not respond, or not with this interface.
        InvalidInputError: the address is not a URL.
    """
    try:
        response = _post(server, _QUERY % _CONTENTS)
        if response.get("errors"):
            response = _post(server, _QUERY % "")
        data = response["data"]
        images = sorted(data["computePickleDockerImages"] or [], key=lambda image: not image["default"])
        versions = sorted(data["computePickleDataVersions"] or [], key=lambda version: not version["default"])
        offered = [_target(image, targets) for image in images]
        return [target for target in offered if target is not None], [
            str(version["version"] or version["name"]) for version in versions
        ]
    except (requests.exceptions.MissingSchema, requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as e:
        raise InvalidInputError(f"{server!r} is not a URL. Pass a URL such as http://127.0.0.1:8000.") from e
    except requests.RequestException as error:
        raise UnreachableServerError(f"{server} can't be reached ({type(error).__name__}). Check --server.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreachableServerError(f"{server} did not respond like a predictions server. Check --server.") from error


def _post(server: str, query: str) -> dict[str, Any]:
    response = requests.post(server, json={"query": query}, timeout=_SECONDS, stream=True)
    body: dict[str, Any] = json.loads(response.raw.read(_MAX_BYTES, decode_content=True))
    return body


def _target(image: dict[str, Any], targets: list[Target]) -> Target | None:
    name, tag = str(image["image"] or image["name"]), str(image["tag"])
    python = _PYTHON.search(name) or _PYTHON.search(str(image["name"]))
    if python is None:
        return None
    version = f"{python[1]}.{python[2]}"
    module_names = image.get("modules")
    modules = None if module_names is None else frozenset(map(str, module_names))
    known_target = next((target for target in targets if target.tag == tag), None)
    if known_target is not None:
        return replace(known_target, name=str(image["name"]), image=name, modules=modules or known_target.modules)
    packages = image.get("packages")
    pins = dict(str(package).split("==", 1) for package in packages) if packages is not None else None
    return Target(
        name=str(image["name"]),
        image=name,
        tag=tag,
        python=version,
        packages=pins if pins is not None else dict.fromkeys(RUNNER_NEEDS, ""),
        modules=modules,
        complete=False,
    )
