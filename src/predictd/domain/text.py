"""Text as it may come from anywhere."""


def is_storable(text: str) -> bool:
    """Return whether every database and every response can hold the text: no NUL, no unpaired surrogate."""
    if "\x00" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
