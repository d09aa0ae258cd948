"""Upload a pickle of this machine, for agents without another way: `put_file`, over stdio only."""

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

from predictd.client.transfer import TransferInterruptedError, put
from predictd.client.upload import open_pickle
from predictd.domain.errors import InvalidInputError, PredictdError, TooLargeError
from predictd.domain.limits import GIB

_MAX_URLS = 100


class LocalFiles:
    """Uploads pickles to URLs that the server issued in this session, and to no others.

    Untrusted text may instruct an agent to send any file anywhere. This only sends files that end in .pkl, also after
    resolving links, to URLs of the server.
    """

    def __init__(self, max_bytes: int = 4 * GIB) -> None:
        self._max_bytes = max_bytes
        self._urls: OrderedDict[str, str] = OrderedDict()

    def remember(self, url: str, filename: str) -> None:
        """Remember a presigned URL that the server has issued."""
        self._urls[url] = filename
        while len(self._urls) > _MAX_URLS:
            self._urls.popitem(last=False)

    def send(self, local_path: str, presigned_url: str) -> dict[str, Any]:
        """PUT the file to the URL without following redirects.

        Raises:
            InvalidInputError: The file is not a pickle of this machine, or the URL was not issued in this session.
            TooLargeError: The file is too large.
            TransferError: The transfer failed.
        """
        filename = self._urls.get(presigned_url.strip())
        if filename is None:
            raise InvalidInputError(
                "The URL was not issued in this session. Call upload_model with operation get_upload_auth and "
                "pass its url, unchanged, as presignedUrl to put_file."
            )
        try:
            path = Path(local_path).expanduser().resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise InvalidInputError(
                f"The file {local_path[:300]!r} does not exist on the machine of `predictd mcp`. Pass an absolute path."
            ) from error
        with open_pickle(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > self._max_bytes:
                raise TooLargeError(f"{path.name} has {size} bytes; the limit is {self._max_bytes} bytes.")
            try:
                put(presigned_url.strip(), file, size, path.name, lambda _name, _sent, _total: None)
            except TransferInterruptedError as error:
                raise PredictdError(
                    f"{error.message} Call get_upload_auth for a new URL and put_file again."
                ) from error
        return {"filename": filename, "bytes": size}
