"""Untrusted text: what can be stored, and what can be shown."""


def is_storable(text: str) -> bool:
    """Return whether every database and every response can hold the text: no NUL, no unpaired surrogate."""
    if "\x00" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def replace_unprintable(text: str, replacement: str = "\N{REPLACEMENT CHARACTER}", keep: str = "") -> str:
    """Return the text with every character replaced that would steer a terminal or a page, but those in `keep`."""
    return "".join(char if char.isprintable() or char in keep else replacement for char in text)


def single_line(text: str) -> str:
    """Return the text on one line, without unprintable characters and repeated spaces."""
    return " ".join(replace_unprintable(text, " ").split())
