"""HTML and SVG made of elements: whatever is not an element is escaped."""

import html

from predictd.domain.text import replace_unprintable

_EMPTY_HTML = frozenset({"meta", "br"})
_SVG = frozenset({"path", "rect", "line", "circle"})


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def escaped(text: str) -> Markup:
    """The text as markup, without characters that would steer a page or a terminal."""
    return Markup(html.escape(replace_unprintable(text)))


def joined(*parts: str | None) -> Markup:
    """The parts one after the other; those that are no markup are escaped, None is left out."""
    return Markup("".join(part if isinstance(part, Markup) else escaped(part) for part in parts if part is not None))


def element(name: str, /, *children: str | None, **attributes: str | float | None) -> Markup:
    """An element. An attribute's `_` stands for `-`, one at its end for none; those that are None are left out."""
    text = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY_HTML:
        return Markup(f"<{name}{text}>")
    if name in _SVG and not children:
        return Markup(f"<{name}{text}/>")
    return Markup(f"<{name}{text}>{joined(*children)}</{name}>")


def coordinate(value: float) -> str:
    """A coordinate with one digit behind the point, if that says anything."""
    return f"{value:.1f}".removesuffix(".0")


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else coordinate(value)
