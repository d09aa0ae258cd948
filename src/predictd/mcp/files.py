"""Sending a pickle of this machine, for agents that have no other way to: `put_file`, over stdio alone."""

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

from predictd.client.transfer import TransferInterruptedError, put
from predictd.client.upload import open_pickle
from predictd.domain.errors import InvalidInputError, PredictdError, TooLargeError
from predictd.domain.limits import GIB

_REMEMBERED = 100


class LocalFiles:
    """Sends pickles to URLs that the server handed out in this session, and to no others.

    An agent may be told by what it reads to send any file anywhere; this sends files that end in .pkl, also behind a
    link, to where the server itself wants one.
    """

    def __init__(self, max_bytes: int = 4 * GIB) -> None:
        self._max_bytes = max_bytes
        self._urls: OrderedDict[str, str] = OrderedDict()

    def remember(self, url: str, filename: str) -> None:
        """A presigned URL that the server has just handed out."""
        self._urls[url] = filename
        while len(self._urls) > _REMEMBERED:
            self._urls.popitem(last=False)

    def send(self, local_path: str, presigned_url: str) -> dict[str, Any]:
        """PUT the file to the URL; redirects are not followed.

        Raises:
            InvalidInputError: the file is no pickle of this machine, or the URL is not one of this session.
            TooLargeError: the file is over the limit.
            TransferError: the transfer failed.
        """
        filename = self._urls.get(presigned_url.strip())
        if filename is None:
            raise InvalidInputError(
                "That URL was not handed out in this session. Call upload_model with operation get_upload_auth and "
                "give put_file its url, unchanged, as presignedUrl."
            )
        try:
            path = Path(local_path).expanduser().resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise InvalidInputError(
                f"There is no file {local_path[:300]!r} on the machine that `predictd mcp` runs on; give a whole path."
            ) from error
        with open_pickle(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > self._max_bytes:
                raise TooLargeError(f"{path.name} has {size} bytes; at most {self._max_bytes} are sent.")
            try:
                put(presigned_url.strip(), file, size, path.name, lambda _name, _sent, _total: None)
            except TransferInterruptedError as error:
                raise PredictdError(
                    f"{error.message} Call get_upload_auth for a new URL and put_file again."
                ) from error
        return {"filename": filename, "bytes": size}
