"""What a data version holds in storage."""

from predictd.data.files import PUBLIC_NAME
from predictd.data.layout import version_key
from predictd.storage import Storage


def list_version(storage: Storage, version: str) -> list[str]:
    """Names of the files of a data version in storage that users may download, sorted."""
    below = version_key(version) + "/"
    names = (one.key.removeprefix(below) for one in storage.objects(version_key(version)))
    return sorted(name for name in names if PUBLIC_NAME.fullmatch(name))
