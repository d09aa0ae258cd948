"""The runtimes and data versions that a server offers, by its public queries."""

import json
import re
from dataclasses import replace
from typing import Any

import requests

from predictd.domain.errors import InvalidInputError, PredictdError
from predictd.pickles.runtime_target import Target
from predictd.runtimes.specs import RUNNER_NEEDS

_SECONDS = 30
_MOST_BYTES = 16 << 20
_PYTHON = re.compile(r"(?:py|python)[ _]?(3)[._](\d{1,2})", re.IGNORECASE)
_QUERY = """query {
  computePickleDockerImages { name image tag default %s }
  computePickleDataVersions { name version default }
}"""
# What only a server of predictd's says of its runtimes.
_CONTENTS = "packages modules"


class UnreachableServerError(PredictdError):
    """The server can't be asked."""

    code = "unreachable_server"


def ask_offers(server: str, known: list[Target]) -> tuple[list[Target], list[str]]:
    """The runtimes, the default first, and the names of the data versions, the default first.

    A server of predictd's lists what its runtimes have. Else a runtime whose tag is known here has the packages of that
    one; of any other the packages are unknown but for those that every run needs, so that it may have any module.

    Raises:
        UnreachableServerError: it does not answer, or not as a server of this interface.
        InvalidInputError: the address is no URL.
    """
    try:
        answer = _ask(server, _QUERY % _CONTENTS)
        if answer.get("errors"):
            answer = _ask(server, _QUERY % "")
        data = answer["data"]
        images = sorted(data["computePickleDockerImages"] or [], key=lambda one: not one["default"])
        versions = sorted(data["computePickleDataVersions"] or [], key=lambda one: not one["default"])
        found = [_target(one, known) for one in images]
        return [one for one in found if one is not None], [str(one["version"] or one["name"]) for one in versions]
    except (requests.exceptions.MissingSchema, requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as e:
        raise InvalidInputError(f"{server!r} is no address; give one such as http://127.0.0.1:8000.") from e
    except requests.RequestException as error:
        raise UnreachableServerError(f"{server} can't be reached ({type(error).__name__}). Check --server.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreachableServerError(
            f"{server} does not answer as a server of predictions does. Check --server."
        ) from error


def _ask(server: str, query: str) -> dict[str, Any]:
    response = requests.post(server, json={"query": query}, timeout=_SECONDS, stream=True)
    answer: dict[str, Any] = json.loads(response.raw.read(_MOST_BYTES, decode_content=True))
    return answer


def _target(image: dict[str, Any], known: list[Target]) -> Target | None:
    name, tag = str(image["image"] or image["name"]), str(image["tag"])
    python = _PYTHON.search(name) or _PYTHON.search(str(image["name"]))
    if python is None:
        return None
    version = f"{python[1]}.{python[2]}"
    listed = image.get("modules")
    modules = None if listed is None else frozenset(map(str, listed))
    same = next((one for one in known if one.tag == tag), None)
    if same is not None:
        return replace(same, name=str(image["name"]), image=name, modules=modules or same.modules)
    packages = image.get("packages")
    pins = dict(str(one).split("==", 1) for one in packages) if packages is not None else None
    return Target(
        name=str(image["name"]),
        image=name,
        tag=tag,
        python=version,
        packages=pins if pins is not None else dict.fromkeys(RUNNER_NEEDS, ""),
        modules=modules,
        complete=False,
    )
