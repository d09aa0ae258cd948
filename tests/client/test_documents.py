"""What the client and the tools for agents send is valid for the contract as it stands, on any server of it."""

from graphql import build_schema, parse, validate

import predictd.client.documents as of_the_client
import predictd.mcp.documents as of_the_tools
from conftest import ROOT

SCHEMA = build_schema((ROOT / "src" / "predictd" / "api" / "graphql" / "schema.graphql").read_text())
DOCUMENTS = {
    f"{module.__name__}.{name}": text
    for module in (of_the_client, of_the_tools)
    for name, text in vars(module).items()
    if name.isupper() and not name.startswith("_") and isinstance(text, str)
}


def test_every_document_is_valid_without_leniency() -> None:
    assert len(DOCUMENTS) > 30
    errors = {name: [error.message for error in validate(SCHEMA, parse(text))] for name, text in DOCUMENTS.items()}
    assert {name: found for name, found in errors.items() if found} == {}
