"""A value in a function that is not run: what is known of its type and where it comes from."""

from dataclasses import dataclass, field
from typing import Any

from predictd.runner.pickle_vm import Items

FRAME, SERIES, ARRAY = "frame", "series", "array"


@dataclass(frozen=True, kw_only=True)
class Value:
    """What is known of a value; a field that is empty is not known.

    Attributes:
        type: 'frame', 'series', 'array' or another type's name.
        name: the dotted name that it is taken from, such as 'numpy.random.rand'; '<name>' begins that of a variable.
        owner: the type of the object that it is an attribute of.
        constant: empty, or the constant alone.
        items: those of a tuple.
        argument: the argument of the function that it is.
        untouched: whether nothing but columns of that argument has been read before.
        carried: the description of the carried function that it is.
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
    """Return a constant of a function, or a plain value that a pickle keeps in a variable."""
    if isinstance(value, Items):
        texts = value.kind == "list" and not value.dropped and all(isinstance(one, str) for one in value.values)
        return Value(type=value.kind, constant=(tuple(value.values),) if texts else ())
    if value is None or isinstance(value, (str, bytes, int, float, tuple)):
        return Value(type="None" if value is None else type(value).__name__, constant=(value,))
    return UNKNOWN


def sequence(kind: str, items: list[Value], count: int) -> Value:
    """Return a list or a tuple that is built of values, of which the first may not be known."""
    if len(items) != count:
        return Value(type=kind)
    texts = tuple(one.constant[0] for one in items if one.type == "str" and one.constant)
    known = kind == "list" and len(texts) == count
    return Value(type=kind, items=tuple(items), constant=(texts,) if known else ())


def extended(first: Value, more: Value) -> Value:
    """Return a list that the items of another sequence are added to."""
    known = first.constant and more.constant and isinstance(more.constant[0], tuple)
    return Value(type="list", constant=(first.constant[0] + more.constant[0],) if known else ())
