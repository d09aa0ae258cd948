"""A value in a function that is analyzed, not run: its type and its source, as far as known."""

from dataclasses import dataclass, field
from typing import Any

from predictd.runner.pickle_vm import Items

FRAME, SERIES, ARRAY = "frame", "series", "array"


@dataclass(frozen=True, kw_only=True)
class Value:
    """What is known about a value; an empty field is unknown.

    Attributes:
        type: 'frame', 'series', 'array' or another type's name.
        name: the dotted name of its source, such as 'numpy.random.rand'; that of a variable starts with '<name>'.
        owner: the type of the object whose attribute it is.
        constant: empty, or the constant as the only item.
        items: the items of a tuple.
        argument: the name of the argument that it is.
        untouched: whether only columns of that argument have been read before.
        carried: the parsed object of the pickled function that it is.
    """

    type: str = ""
    name: str = ""
    owner: str = ""
    constant: tuple[Any, ...] = ()
    items: tuple["Value", ...] = ()
    argument: str = ""
    untouched: bool = False
    carried: Any = field(default=None, hash=False, compare=False)

    def attribute(self, name: str) -> "Value":
        """Return the attribute of that name."""
        if self.type in (FRAME, SERIES) and name == "values":
            return Value(type=ARRAY, name=f"{self.name}.{name}")
        path = self.constant if self.type == "path" else ()
        return Value(name=f"{self.name}.{name}", owner=self.type, constant=path)


UNKNOWN = Value()


def constant(value: Any) -> Value:
    """Return a constant of a function, or a plain value of a variable."""
    if isinstance(value, Items):
        texts = value.kind == "list" and not value.dropped and all(isinstance(item, str) for item in value.values)
        return Value(type=value.kind, constant=(tuple(value.values),) if texts else ())
    if value is None or isinstance(value, (str, bytes, int, float, tuple)):
        return Value(type="None" if value is None else type(value).__name__, constant=(value,))
    return UNKNOWN


def sequence(kind: str, items: list[Value], count: int) -> Value:
    """Return a list or a tuple that is built of values, of which the first may be unknown."""
    if len(items) != count:
        return Value(type=kind)
    texts = tuple(item.constant[0] for item in items if item.type == "str" and item.constant)
    is_known = kind == "list" and len(texts) == count
    return Value(type=kind, items=tuple(items), constant=(texts,) if is_known else ())


def extended(first: Value, more: Value) -> Value:
    """Return a list extended with the items of another sequence."""
    is_known = first.constant and more.constant and isinstance(more.constant[0], tuple)
    return Value(type="list", constant=(first.constant[0] + more.constant[0],) if is_known else ())
