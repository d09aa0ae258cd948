"""What the client and the tools for agents send is valid for the contract as it stands, on any server of it."""

from types import ModuleType

from graphql import build_schema, extend_schema, parse, validate

import predictd.client.documents as of_the_client
import predictd.client.extensions as of_the_client_beyond
import predictd.mcp.operations as of_the_tools
from conftest import ROOT

FOLDER = ROOT / "src" / "predictd" / "api" / "graphql"
SCHEMA = build_schema((FOLDER / "schema.graphql").read_text())
EXTENSIONS = "\n".join(path.read_text() for path in sorted((FOLDER / "extensions").glob("*.graphql")))
EXTENDED = extend_schema(SCHEMA, parse(EXTENSIONS))


def documents(*modules: ModuleType) -> dict[str, str]:
    return {
        f"{module.__name__}.{name}": text
        for module in modules
        for name, text in vars(module).items()
        if name.isupper() and not name.startswith("_") and isinstance(text, str)
    }


TOOLS_BEYOND = {"predictd.mcp.operations.CANCEL"}
TOOLS = documents(of_the_tools)
DOCUMENTS = documents(of_the_client) | {name: text for name, text in TOOLS.items() if name not in TOOLS_BEYOND}
BEYOND = documents(of_the_client_beyond) | {name: TOOLS[name] for name in TOOLS_BEYOND}


def test_every_document_is_valid_without_leniency() -> None:
    assert len(DOCUMENTS) > 30
    errors = {name: [error.message for error in validate(SCHEMA, parse(text))] for name, text in DOCUMENTS.items()}
    assert {name: found for name, found in errors.items() if found} == {}


def test_what_goes_beyond_the_contract_stands_apart_and_is_valid_with_the_extensions() -> None:
    assert BEYOND
    for name, text in BEYOND.items():
        assert validate(EXTENDED, parse(text)) == [], name
        assert validate(SCHEMA, parse(text)) != [], f"{name} is of the contract"
