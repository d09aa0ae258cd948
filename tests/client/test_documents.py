"""The GraphQL documents of the client and of the MCP tools are valid in the schema that every server has."""

from types import ModuleType

from graphql import build_schema, extend_schema, parse, validate

import predictd.client.documents as client_documents
import predictd.mcp.operations as mcp_documents
from conftest import ROOT

FOLDER = ROOT / "src" / "predictd" / "api" / "graphql"
SCHEMA = build_schema((FOLDER / "schema.graphql").read_text())
EXTENSIONS = "\n".join(path.read_text() for path in sorted((FOLDER / "extensions").glob("*.graphql")))
EXTENDED_SCHEMA = extend_schema(SCHEMA, parse(EXTENSIONS))


def documents(*modules: ModuleType) -> dict[str, str]:
    return {
        f"{module.__name__}.{name}": text
        for module in modules
        for name, text in vars(module).items()
        if name.isupper() and not name.startswith("_") and isinstance(text, str)
    }


CONTRACT_DOCUMENTS = documents(client_documents, mcp_documents)
EXTENSION_DOCUMENTS = {
    name: CONTRACT_DOCUMENTS.pop(name)
    for name in [
        *(f"{client_documents.__name__}.{name}" for name in client_documents.EXTENSIONS),
        f"{mcp_documents.__name__}.CANCEL",
    ]
}


def test_every_document_is_valid_without_extensions() -> None:
    assert len(CONTRACT_DOCUMENTS) > 30
    errors = {name: validate(SCHEMA, parse(text)) for name, text in CONTRACT_DOCUMENTS.items()}
    assert {name: found for name, found in errors.items() if found} == {}


def test_documents_of_extensions_are_valid_only_with_the_extensions() -> None:
    assert EXTENSION_DOCUMENTS
    for name, text in EXTENSION_DOCUMENTS.items():
        assert validate(EXTENDED_SCHEMA, parse(text)) == [], name
        assert validate(SCHEMA, parse(text)) != [], f"{name} needs no extension"
