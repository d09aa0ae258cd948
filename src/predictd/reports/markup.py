"""Build HTML and SVG from elements; everything else is escaped."""

import html

from predictd.domain.text import replace_unprintable

_EMPTY_HTML = frozenset({"meta", "br"})
_SVG = frozenset({"path", "rect", "line", "circle"})


class Markup(str):
    """Text that is already markup."""

    __slots__ = ()


def escaped(text: str) -> Markup:
    """Return the text as markup, without characters that control a page or a terminal."""
    return Markup(html.escape(replace_unprintable(text)))


def joined(*parts: str | None) -> Markup:
    """Concatenate the parts; parts that are not markup are escaped, None is skipped."""
    return Markup("".join(part if isinstance(part, Markup) else escaped(part) for part in parts if part is not None))


def element(name: str, /, *children: str | None, **attributes: str | float | None) -> Markup:
    """Return an element. In attribute names `_` becomes `-` and a trailing `_` is removed; None values are skipped."""
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
    """Return a coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else coordinate(value)
