"""Bad numbers, texts and ids in every argument, path, query and form are refused in words and never fail the server.

The arguments come from the schema and the paths from the routes, so that a new one is tried as soon as it is there.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
import requests
from graphql import get_named_type, is_list_type
from operations import arguments_of, document_with
from starlette.routing import Route

import predictd.web
from browsing import PASSWORD, Visitor, make_account
from conftest import Server, User
from predictd.api.asgi import build_schema
from predictd.api.node_reports import node_routes
from predictd.settings import Settings
from predictd.web import web_routes

NUMBERS: list[Any] = [
    *(-1, 2**31 - 1, -(2**31), 2**63, 1e308, float("nan"), "9"),
]
TEXTS: list[Any] = [
    *("", "a\x00b", "\ud800", "\uffff\x1b[2J\r\n", "x" * 70_000, 10**30),
    *("9999-12-31T23:59:59-14:00", "99999999-01-01"),
]
# As they are percent-encoded in a path or in a query.
ENCODED = [
    *("a%00b", "%FF%ED%A0%80%1B%5B2J", "x" * 3000, str(2**31), str(2**63), "9" * 5000),
]
FIELDS = re.compile(r"""(?:form\.get|form|query_param|query_params\.get|query_params\.getlist)[(\[]["']([a-z_]+)["']""")


@dataclass(frozen=True)
class Site:
    """A server with an organiser who is signed in."""

    server: Server
    organiser: User
    visitor: Visitor


@pytest.fixture(scope="module")
def site(make_server: Callable[..., AbstractContextManager[Server]]) -> Iterator[Site]:
    with make_server(allow_sign_up=True) as server:
        server.open_round("10h")
        organiser = make_account(server, "organiser")
        server.predictd("account", "admin", "organiser")
        visitor = Visitor(server.address)
        visitor.sign_in("organiser")
        yield Site(server, organiser, visitor)


@pytest.fixture(autouse=True)
def nothing_failed(site: Site) -> Iterator[None]:
    yield
    failures = [line for line in site.server.log.splitlines() if "_failed" in line or "Traceback" in line]
    assert failures[:3] == []


def test_every_argument_refuses_bad_scalars_in_words(site: Site) -> None:
    """Whatever an argument is given, the answer is a 200 with data or with an error that says what was wrong."""
    schema, client, wrong = build_schema(), requests.Session(), []
    model_id = site.organiser.add_model("scalars")
    for kind, name, field, argument in arguments_of(schema):
        described = field.args[argument]
        values = NUMBERS if get_named_type(described.type).name in ("Int", "Float") else TEXTS
        document, others = document_with(kind, name, field, argument, {"model": model_id})
        for value in values:
            given = {**others, argument: [value] if is_list_type(described.type) else value}
            wrong += asked(client, site.organiser, {"query": document, "variables": given}, (name, argument, value))
    assert wrong == []


@pytest.mark.parametrize("text", ["\\u0000", "\\ud800", "\\udc00\\ud800", "\x00", "\x1b"])
def test_a_document_with_characters_that_are_no_text_is_refused_in_words(site: Site, text: str) -> None:
    documents = [
        {"query": f'{{ computePickles(id: "{text}") {{ id }} }}'},
        {"query": f'{{ computePickles(id: """{text}""") {{ id }} }}'},
        {"query": f"{{ {text} }}"},
        {"query": "query a { account { id } }", "operationName": f"{text.encode().decode('unicode_escape')}"},
        {"query": "{ account { id } }", "variables": {text.encode().decode("unicode_escape"): text}},
    ]
    assert [wrong for body in documents for wrong in asked(requests.Session(), site.organiser, body, body)] == []


def asked(client: requests.Session, user: User, body: dict[str, Any], case: object) -> list[tuple[str, str]]:
    response = client.post(user.address, data=as_json(body), headers=user.headers, timeout=60)
    is_good = response.status_code == 200 and "Internal" not in response.text
    return [] if is_good else [(repr(case)[:200], f"{response.status_code} {response.text[:200]}")]


def as_json(body: dict[str, Any]) -> bytes:
    """Also what is no JSON by the letter, as clients in Python send it (NaN, Infinity)."""
    return json.dumps(body).encode()


def test_every_path_refuses_bad_parts_in_words(site: Site) -> None:
    wrong = []
    for method, path in routes():
        names = re.findall(r"{(\w+)(?::\w+)?}", path)
        for name, value in itertools.product(names, ENCODED):
            others = re.sub(rf"{{{name}(:\w+)?}}", lambda _, v=value: v, path)  # type: ignore[misc]
            filled = re.sub(r"{\w+(:\w+)?}", "1", others)
            wrong += opened(site, method, filled, {})
    assert wrong == []


def test_every_query_and_form_refuses_bad_values_in_words(site: Site) -> None:
    source = "".join(path.read_text() for path in Path(predictd.web.__file__).parent.rglob("*.py"))
    names = sorted(set(FIELDS.findall(source)) - {"csrf"})
    assert len(names) > 15
    wrong = []
    for (method, path), value in itertools.product(routes(), ENCODED):
        filled = re.sub(r"{\w+(:\w+)?}", "1", path)
        if method == "GET":
            query = "&".join(f"{name}={value}" for name in [*names, "id"])
            wrong += opened(site, method, f"{filled}?{query}"[:60_000], {})
        else:
            wrong += opened(site, method, filled, dict.fromkeys(names, value))
    assert wrong == []


def test_a_cursor_beyond_any_number_is_refused_in_words(site: Site) -> None:
    refused = [f"{2**31}.0", f"{2**63}.0", f"0.{10**19}", f"{'9' * 30}.{'9' * 8}", "٣.٣", "1.", "-1.0"]
    for cursor in (f"{2**31 - 1}.{2**31 - 1}", *refused):
        response = site.visitor.get(f"/live?from={quote(cursor)}", stream=True)
        if response.status_code == 200:
            assert next(response.iter_lines()) == b"retry: 300"
        response.close()
        assert response.status_code == (400 if cursor in refused else 200), cursor
    assert site.visitor.get("/live?from=0.0&run=a%00b").status_code == 400


def test_a_form_in_a_charset_that_is_no_charset_is_refused_in_words(site: Site) -> None:
    for charset, value, status in (("idna", b"xn--99999", 400), ("unicode_escape", b"\\ud800", 400)):
        body = b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n' + value + b"\r\n--x--\r\n"
        headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
        response = requests.post(f"{site.server.address}/signin", data=body, headers=headers, timeout=60)
        assert response.status_code == status, (charset, response.text)


def routes() -> list[tuple[str, str]]:
    """Every method and path of the pages and of the nodes; the one that ends the session is left out."""
    services: Any = SimpleNamespace(database=None, storage=None, settings=Settings(), wake=None)
    found = [route for route in [*web_routes(services), *node_routes(None, 0)] if isinstance(route, Route)]  # type: ignore[arg-type]
    pairs = [(method, route.path) for route in found for method in sorted(route.methods or ()) if method != "HEAD"]
    return [pair for pair in pairs if pair[1] not in ("/signout", "/live")]


def opened(site: Site, method: str, path: str, form: dict[str, str]) -> list[tuple[str, str]]:
    visitor = site.visitor
    if "predictd_session" not in visitor.client.cookies:
        visitor.sign_in("organiser", PASSWORD)
    body = "&".join(f"{name}={value}" for name, value in {"csrf": csrf(site), **form}.items())
    response = visitor.client.request(
        method,
        f"{visitor.address}{path}",
        data=body if method == "POST" else None,
        headers={"Content-Type": "application/x-www-form-urlencoded"} if method == "POST" else {},
        allow_redirects=False,
        timeout=60,
    )
    is_good = response.status_code < 500 and "Internal" not in response.text
    case = f"{method} {path[:120]} {list(form.values())[:1]}"
    return [] if is_good else [(case, f"{response.status_code} {response.text[:120]}")]


def csrf(site: Site) -> str:
    return hashlib.sha256(f"form:{site.visitor.client.cookies.get('predictd_session')}".encode()).hexdigest()
