"""Execution of GraphQL requests, with a cache of parsed documents."""

import json
import threading
from collections import OrderedDict
from typing import Any, cast

import structlog
from graphql import DocumentNode, ExecutionResult, FieldNode, GraphQLError, GraphQLSchema, parse
from graphql import execute as execute_document
from graphql.validation import validate

from predictd.api.graphql.compat import RULES, relax, squash
from predictd.api.graphql.query_limits import (
    MAX_VALUES,
    SLOW_FIELDS,
    BoundedExecutor,
    TooManyValuesError,
    check_limits,
    root_fields,
)
from predictd.db.retry import is_outage
from predictd.domain.errors import OutageError, PredictdError, is_disk_full

log = structlog.get_logger()

MAX_TOKENS = 10_000
# Of all cached documents. A parsed document takes 100 to 200 bytes per character.
MAX_CACHED_CHARACTERS = 128 * 1024
# Clients do not send longer documents repeatedly.
MAX_CHARACTERS_TO_CACHE = 16_000
INTERNAL_ERROR = "Internal server error."
UNAVAILABLE = "The database or storage of the server is unavailable. Try again in a minute."
# Fields of Numerai's own interface that have no meaning here, by words of their names.
_MONEY = ("stake", "wallet", "payout", "nmr", "deposit", "withdraw", "transaction")


class Endpoint:
    """Executes requests against a schema; caches parsed and validated documents."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._documents: OrderedDict[str, DocumentNode | list[GraphQLError]] = OrderedDict()
        self._cached_characters = 0
        self._lock = threading.Lock()

    def execute(self, body: object, context: object) -> dict[str, Any]:
        """Execute `{"query", "variables", "operationName"}` and return `{"data", "errors"}`; never raises."""
        try:
            query, variables, name = _read_body(body)
        except GraphQLError as error:
            return {"data": None, "errors": [error.formatted]}
        prepared = self._prepare(query)
        if isinstance(prepared, list):
            return {"data": None, "errors": [error.formatted for error in prepared]}
        try:
            result = execute_document(
                self._schema,
                prepared,
                context_value=context,
                variable_values=variables,
                operation_name=name,
                executor_class=BoundedExecutor,
            )
        except TooManyValuesError:
            message = f"The response has more than {MAX_VALUES} values. Select fewer fields or use a smaller limit."
            return {"data": None, "errors": [{"message": message}]}
        executed = cast(ExecutionResult, result)
        response: dict[str, Any] = {"data": executed.data}
        if executed.errors:
            response["errors"] = [_format_error(error) for error in executed.errors]
        return response

    def slow_field(self, body: object) -> str | None:
        """Return the field of `SLOW_FIELDS` that a request has at its root; None if it has none or is not valid."""
        try:
            query, _, _ = _read_body(body)
        except GraphQLError:
            return None
        prepared = self._prepare(query)
        if isinstance(prepared, list):
            return None
        return min(SLOW_FIELDS.keys() & root_fields(prepared), default=None)

    def _prepare(self, query: str) -> DocumentNode | list[GraphQLError]:
        with self._lock:
            if query in self._documents:
                self._documents.move_to_end(query)
                return self._documents[query]
        prepared = prepare(self._schema, query)
        if len(query) > MAX_CHARACTERS_TO_CACHE:
            return prepared
        with self._lock:
            if query not in self._documents:
                self._documents[query] = prepared
                self._cached_characters += len(query)
            while self._cached_characters > MAX_CACHED_CHARACTERS:
                oldest, _ = self._documents.popitem(last=False)
                self._cached_characters -= len(oldest)
        return prepared


def is_unavailable(response: dict[str, Any]) -> bool:
    """Return whether the database or the storage was unavailable, so that clients should retry."""
    return any(error.get("extensions", {}).get("code") == OutageError.code for error in response.get("errors", []))


def prepare(schema: GraphQLSchema, query: str) -> DocumentNode | list[GraphQLError]:
    """Parse, relax, and validate a document; return the errors if it is invalid."""
    try:
        document = parse(query, max_tokens=MAX_TOKENS)
        if (limit_error := check_limits(document)) is not None:
            return [limit_error]
        document = relax(document, schema)
    except GraphQLError as error:
        return [error]
    except RecursionError:
        return [GraphQLError("The query is nested too deeply. Send a flatter query.")]
    try:
        errors = validate(schema, document, RULES, max_errors=20)
    except RecursionError:
        return [GraphQLError("The query is nested too deeply. Send a flatter query.")]
    if errors:
        return [error for error in map(_money_error, errors) if error] or errors
    return document


def _read_body(body: object) -> tuple[str, dict[str, Any], str | None]:
    if not isinstance(body, dict):
        raise GraphQLError('Send one JSON object: {"query": "...", "variables": {...}}.')
    query, variables, name = body.get("query"), body.get("variables"), body.get("operationName")
    if isinstance(variables, str):
        try:
            variables = json.loads(variables or "{}")
        except ValueError as error:
            raise GraphQLError("The variables are not valid JSON. Send a JSON object.") from error
    if not isinstance(query, str) or not query.strip():
        raise GraphQLError("The query is missing. Send it as the string 'query'.")
    if not isinstance(variables, dict | None):
        raise GraphQLError("The variables are not an object. Send a JSON object.")
    try:
        # Errors quote the request, and a response can't contain unpaired surrogates.
        json.dumps([query, variables, name], ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError) as error:
        raise GraphQLError("The request contains unpaired surrogates (U+D800 to U+DFFF). Send valid text.") from error
    return query, variables or {}, name if isinstance(name, str) and name else None


def _money_error(error: GraphQLError) -> GraphQLError | None:
    """Return the error for a request of stakes, wallets, or payouts; None for any other error."""
    node = error.nodes[0] if error.nodes else None
    if isinstance(node, FieldNode) and any(word in squash(node.name.value) for word in _MONEY):
        message = f"This server does not support stakes, wallets, or payouts, so {node.name.value} is not available."
        return GraphQLError(message, node)
    return None


def _is_outage(cause: BaseException) -> bool:
    return isinstance(cause, OutageError) or is_outage(cause) or is_disk_full(cause)


def _format_error(error: GraphQLError) -> dict[str, Any]:
    """Return an error for the response; an internal error is logged and its details are not shown."""
    formatted = dict(error.formatted)
    cause = error.original_error
    if cause is not None and _is_outage(cause):
        log.warning("unavailable", path=error.path, error=str(cause).splitlines()[0][:300])
        formatted |= {"message": UNAVAILABLE, "extensions": {"code": OutageError.code}}
    elif isinstance(cause, PredictdError):
        formatted["extensions"] = {"code": cause.code}
    elif cause is not None and not isinstance(cause, GraphQLError):
        log.error("resolver_failed", path=error.path, exc_info=cause)
        formatted["message"] = INTERNAL_ERROR
    return formatted
