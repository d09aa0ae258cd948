"""Tokens in the system keyring, if the package keyring is installed and finds one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from predictd.domain.errors import SetupError

_SERVICE = "predictd"


def is_available() -> bool:
    """Return whether there is a usable keyring."""
    keyring = _import_keyring()
    if keyring is None:
        return False
    from keyring.backends import fail  # noqa: PLC0415 (optional)

    return not isinstance(keyring.get_keyring(), fail.Keyring)


def read(name: str) -> str | None:
    """Return the secret with this name, or None.

    Raises:
        SetupError: The keyring is locked or broken.
    """
    keyring = _import_keyring()
    if keyring is None:
        return None
    with _setup_errors(keyring):
        secret = keyring.get_password(_SERVICE, name)
    return str(secret) if secret else None


def save(name: str, secret: str) -> None:
    """Save a secret with this name. Raises SetupError if the keyring is locked or broken."""
    keyring = _import_keyring()
    with _setup_errors(keyring):
        keyring.set_password(_SERVICE, name, secret)


def delete(name: str) -> None:
    """Delete the secret with this name. Raises SetupError if the keyring is locked or broken."""
    keyring = _import_keyring()
    if keyring is not None and read(name):
        with _setup_errors(keyring):
            keyring.delete_password(_SERVICE, name)


def _import_keyring() -> Any:
    try:
        import keyring  # noqa: PLC0415 (optional)
        import keyring.errors  # noqa: PLC0415
    except ImportError:
        return None
    return keyring


@contextmanager
def _setup_errors(keyring: Any) -> Iterator[None]:
    try:
        yield
    except keyring.errors.KeyringError as error:
        raise SetupError(
            f"The keyring is unavailable ({error}). Unlock it, or store tokens in a file: predictd login --no-keyring"
        ) from error
