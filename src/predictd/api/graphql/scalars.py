"""The scalars of the contract."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

from ariadne import ScalarType
from graphql import GraphQLError, GraphQLID, GraphQLInt, GraphQLScalarType, GraphQLSchema, GraphQLString

from predictd.domain.text import is_storable

MAX_INT = 2**53
# Of the process-wide scalars, so that a second schema does not wrap the functions of the first.
_SERIALIZE_INT = GraphQLInt.coerce_output_value
_TEXTS = {
    scalar.name: (scalar.coerce_input_value, scalar.coerce_input_literal) for scalar in (GraphQLString, GraphQLID)
}

time_scalar = ScalarType("Time")
date_scalar = ScalarType("Date")
nmr_scalar = ScalarType("Nmr")
json_scalar = ScalarType("JSON")

SCALARS = (time_scalar, date_scalar, nmr_scalar, json_scalar)


@time_scalar.serializer
def serialize_time(value: object) -> str:
    """Serialize a time as ISO 8601 in UTC with microseconds and a trailing Z."""
    if not isinstance(value, datetime):
        raise GraphQLError("Time cannot represent a value that is not a time.")
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@date_scalar.serializer
def serialize_date(value: object) -> str:
    """Serialize a date as ISO 8601."""
    if not isinstance(value, date):
        raise GraphQLError("Date cannot represent a value that is not a date.")
    return value.isoformat()


@nmr_scalar.serializer
def serialize_nmr(value: object) -> str:
    """Serialize a decimal as a string."""
    return str(value)


def widen_int(schema: GraphQLSchema) -> None:
    """Allow integers of up to 53 bits in responses, which the contract uses for times in milliseconds."""
    scalar = schema.type_map["Int"]
    assert isinstance(scalar, GraphQLScalarType)

    def serialize(value: object) -> int:
        is_wide = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_INT
        return value if is_wide and isinstance(value, int) else int(_SERIALIZE_INT(value))

    scalar.coerce_output_value = serialize


def check_texts(schema: GraphQLSchema) -> None:
    """Reject string and ID arguments that databases can't store."""
    for name, (of_value, of_literal) in _TEXTS.items():
        scalar = schema.type_map[name]
        assert isinstance(scalar, GraphQLScalarType)
        assert of_literal is not None
        scalar.coerce_input_value = _checked(name, of_value)
        scalar.coerce_input_literal = _checked(name, of_literal)


def _checked(name: str, coerce: Callable[..., Any]) -> Callable[..., Any]:
    def checked(*arguments: Any) -> Any:
        text = coerce(*arguments)
        if isinstance(text, str) and not is_storable(text):
            raise GraphQLError(f"{name} cannot contain NUL characters or unpaired surrogates. Remove them.")
        return text

    return checked
