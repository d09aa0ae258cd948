"""A pickle on its way to a server: authorised, sent, registered; cut anywhere, it is taken up where it was."""

import hashlib
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from predictd.client.connection import Connection, UnansweredError
from predictd.client.documents import CREATE_PICKLE, PICKLE_NAMES, UPLOAD_AUTH
from predictd.client.errors import RefusedError
from predictd.client.resume import PendingUploads
from predictd.client.transfer import BrokenOffError, ShowProgress, put
from predictd.domain.errors import ConflictError, InvalidInputError, NotFoundError
from predictd.domain.names import CLASSIC

_ATTEMPTS = 3
_BLOCK = 1024 * 1024
_GONE = (NotFoundError, InvalidInputError, ConflictError, RefusedError)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a pickle is uploaded for; None leaves the choice to the server."""

    model_id: str | None = None
    runtime_id: str | None = None
    data_version_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Uploader:
    """Uploads one pickle.

    Attributes:
        say: told in a line what is out of the ordinary.
        sleep: waits so many seconds before another attempt.
    """

    connection: Connection
    pending: PendingUploads
    show: ShowProgress
    say: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep

    def upload(self, path: Path, target: Target) -> str:
        """Send the file and register it; answers the pickle's id.

        Raises:
            InvalidInputError: it is no file that can be uploaded.
            TransferError: the server can't be reached; calling again goes on from where it was.
            PredictdError: the server refuses it.
        """
        with open_pickle(path) as file:
            size = os.fstat(file.fileno()).st_size
            what = self._what(self._digest(file, path.name, size), target)
            arrived = self.pending.find(what)
            if arrived is not None:
                self.say(f"{path.name} has arrived earlier as {arrived}; going on from there.")
                try:
                    return self._finish(what, arrived, target)
                except _GONE:
                    self.pending.forget(what)
                    self.say("The server has it no more; sending it again.")
            filename = self._send(file, path.name, size, target)
        self.pending.keep(what, filename)
        return self._finish(what, filename, target)

    def _finish(self, what: list[str | None], filename: str, target: Target) -> str:
        pickle_id = self._register(filename, target)
        self.pending.forget(what)
        return pickle_id

    def _send(self, file: BinaryIO, name: str, size: int, target: Target) -> str:
        """Send the bytes to a presigned URL, to a new one after each that failed; answers the filename."""
        attempt = 1
        while True:
            wanted = {"filename": name, "modelId": target.model_id}
            grant = self.connection.ask_for(UPLOAD_AUTH, wanted, "computePickleUploadAuth")
            file.seek(0)
            try:
                put(grant["url"], file, size, name, self.show)
            except BrokenOffError as error:
                if attempt == _ATTEMPTS:
                    raise
                self.say(f"The upload broke off, beginning again ({attempt} of {_ATTEMPTS - 1}): {error.message}")
                self.sleep(0.5 * 2**attempt)
                attempt += 1
            else:
                return str(grant["filename"])

    def _register(self, filename: str, target: Target) -> str:
        """Register what has arrived, once: after a lost answer the server is asked whether it was taken."""
        variables = {
            "filename": filename,
            "tournament": CLASSIC,
            "modelId": target.model_id,
            "dockerImageId": target.runtime_id,
            "dataVersionId": target.data_version_id,
            "source": "predictd",
        }
        attempt = 1
        while True:
            try:
                return str(self.connection.ask_for(CREATE_PICKLE, variables, "createComputePickleUpload")["id"])
            except ConflictError:
                found = self._registered(filename, target)
                if found is None:
                    raise
                return found
            except UnansweredError:
                self.sleep(0.25 * 2**attempt)
                found = self._registered(filename, target)
                if found is not None:
                    return found
                if attempt == _ATTEMPTS:
                    raise
                attempt += 1

    def _registered(self, filename: str, target: Target) -> str | None:
        pickles = self.connection.ask(PICKLE_NAMES, {"modelId": target.model_id}).get("computePickles") or ()
        return next((str(one["id"]) for one in pickles if one.get("filename") == filename), None)

    def _digest(self, file: BinaryIO, name: str, size: int) -> str:
        digest = hashlib.sha256()
        read = 0
        while block := file.read(_BLOCK):
            digest.update(block)
            read += len(block)
            if size > 256 * _BLOCK:
                self.show(f"{name} (checksum)", read, size)
        return digest.hexdigest()

    def _what(self, digest: str, target: Target) -> list[str | None]:
        token = self.connection.token
        own = (self.connection.server, token.public_id if token else None)
        return [digest, *own, target.model_id, target.runtime_id, target.data_version_id]


def open_pickle(path: Path) -> BinaryIO:
    """Open a file for uploading.

    Raises:
        InvalidInputError: it is no ordinary file ending in .pkl, empty, or can't be read.
    """
    if path.suffix.lower() != ".pkl":
        raise InvalidInputError(f"{path.name[:100]!r} can't be uploaded: the name must end in .pkl.")
    try:
        # Without O_NONBLOCK a named pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidInputError(f"{path} can't be read: {error.strerror}.") from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or not found.st_size:
        os.close(descriptor)
        wrong = "is empty" if stat.S_ISREG(found.st_mode) else "is no file"
        raise InvalidInputError(f"{path} {wrong}; name the pickle that cloudpickle.dump wrote.")
    return os.fdopen(descriptor, "rb")
