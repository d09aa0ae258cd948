"""The system's keyring, where the package keyring is installed and has one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from predictd.domain.errors import SetupError

_SERVICE = "predictd"


def is_available() -> bool:
    """Whether there is a keyring that can keep something."""
    keyring = _find()
    if keyring is None:
        return False
    from keyring.backends import fail  # noqa: PLC0415 (optional)

    return not isinstance(keyring.get_keyring(), fail.Keyring)


def read(name: str) -> str | None:
    """What is kept under the name; None where there is nothing.

    Raises:
        SetupError: the keyring is locked or broken.
    """
    keyring = _find()
    if keyring is None:
        return None
    with _explained(keyring):
        found = keyring.get_password(_SERVICE, name)
    return str(found) if found else None


def keep(name: str, secret: str) -> None:
    """Keep it under the name; SetupError where the keyring is locked or broken."""
    keyring = _find()
    with _explained(keyring):
        keyring.set_password(_SERVICE, name, secret)


def forget(name: str) -> None:
    """Keep it no longer; SetupError where the keyring is locked or broken."""
    keyring = _find()
    if keyring is not None and read(name):
        with _explained(keyring):
            keyring.delete_password(_SERVICE, name)


def _find() -> Any:
    try:
        import keyring  # noqa: PLC0415 (optional)
        import keyring.errors  # noqa: PLC0415
    except ImportError:
        return None
    return keyring


@contextmanager
def _explained(keyring: Any) -> Iterator[None]:
    try:
        yield
    except keyring.errors.KeyringError as error:
        raise SetupError(
            f"The keyring can't be used ({error}). Unlock it, or keep the token in a file: predictd login --no-keyring"
        ) from error
