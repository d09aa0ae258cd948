"""Uploads of pickles: authorize, send, register. An interrupted upload resumes at the step that it had reached."""

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
from predictd.client.resume import PendingUploads
from predictd.client.server_errors import RefusedError
from predictd.client.transfer import ShowProgress, TransferInterruptedError, put
from predictd.domain.errors import ConflictError, InvalidInputError, NotFoundError
from predictd.domain.names import CLASSIC

MAX_ATTEMPTS = 3
_BLOCK_BYTES = 1024 * 1024
_GONE_ERRORS = (NotFoundError, InvalidInputError, ConflictError, RefusedError)


def ignore_message(_message: str) -> None:
    """Show no messages."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """The model, runtime and data version of an upload; None for no model, and for the server's choice."""

    model_id: str | None = None
    runtime_id: str | None = None
    data_version_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Uploader:
    """Uploads one pickle.

    Attributes:
        connection: Connection to the server.
        pending: Uploads that were sent but not registered.
        on_progress: Called with the progress of the transfer.
        on_message: Called with a line about anything unusual, such as a retry.
        sleep: Waits the given seconds before a retry.
    """

    connection: Connection
    pending: PendingUploads
    on_progress: ShowProgress
    on_message: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep

    def upload(self, path: Path, target: Target) -> str:
        """Send the file, register it, and return the id of the pickle.

        Raises:
            InvalidInputError: The file can't be uploaded.
            TransferError: The server is unreachable. Call again to resume.
            PredictdError: The server rejected the upload.
        """
        with open_pickle(path) as file:
            size = os.fstat(file.fileno()).st_size
            key = self._key(self._digest(file, path.name, size), target)
            filename = self.pending.find(key)
            if filename is not None:
                self.on_message(f"{path.name} was already uploaded as {filename}; registering it.")
                try:
                    return self._finish(key, filename, target)
                except _GONE_ERRORS:
                    self.pending.delete(key)
                    self.on_message("The server no longer has the file; uploading it again.")
            filename = self._send(file, path.name, size, target)
        self.pending.save(key, filename)
        return self._finish(key, filename, target)

    def _finish(self, key: list[str | None], filename: str, target: Target) -> str:
        pickle_id = self._register(filename, target)
        self.pending.delete(key)
        return pickle_id

    def _send(self, file: BinaryIO, name: str, size: int, target: Target) -> str:
        """Send the file to a presigned URL, with a new URL for each attempt, and return its name on the server."""
        attempt = 1
        while True:
            variables = {"filename": name, "modelId": target.model_id}
            auth = self.connection.query_object(UPLOAD_AUTH, variables, "computePickleUploadAuth")
            file.seek(0)
            try:
                put(auth["url"], file, size, name, self.on_progress)
            except TransferInterruptedError as error:
                if attempt == MAX_ATTEMPTS:
                    raise
                self.on_message(f"The upload was interrupted; retry {attempt} of {MAX_ATTEMPTS - 1}: {error.message}")
                self.sleep(0.5 * 2**attempt)
                attempt += 1
            else:
                return str(auth["filename"])

    def _register(self, filename: str, target: Target) -> str:
        """Register the uploaded file once: after a lost response, check whether the server has registered it."""
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
                return str(self.connection.query_object(CREATE_PICKLE, variables, "createComputePickleUpload")["id"])
            except ConflictError:
                pickle_id = self._find_registered(filename, target)
                if pickle_id is None:
                    raise
                return pickle_id
            except UnansweredError:
                self.sleep(0.25 * 2**attempt)
                pickle_id = self._find_registered(filename, target)
                if pickle_id is not None:
                    return pickle_id
                if attempt == MAX_ATTEMPTS:
                    raise
                attempt += 1

    def _find_registered(self, filename: str, target: Target) -> str | None:
        pickles = self.connection.query(PICKLE_NAMES, {"modelId": target.model_id}).get("computePickles") or ()
        return next((str(pickle["id"]) for pickle in pickles if pickle.get("filename") == filename), None)

    def _digest(self, file: BinaryIO, name: str, size: int) -> str:
        digest = hashlib.sha256()
        done = 0
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            done += len(block)
            if size > 256 * _BLOCK_BYTES:
                self.on_progress(f"{name} (checksum)", done, size)
        return digest.hexdigest()

    def _key(self, digest: str, target: Target) -> list[str | None]:
        token = self.connection.token
        account = (self.connection.server, token.public_id if token else None)
        return [digest, *account, target.model_id, target.runtime_id, target.data_version_id]


def open_pickle(path: Path) -> BinaryIO:
    """Open a pickle for an upload.

    Raises:
        InvalidInputError: The name does not end in .pkl, or the file is unreadable, empty or not a regular file.
    """
    if path.suffix.lower() != ".pkl":
        raise InvalidInputError(f"{path.name[:100]!r} can't be uploaded: the name must end in .pkl.")
    try:
        # Without O_NONBLOCK, opening a named pipe would block.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidInputError(f"{path} can't be read: {error.strerror}.") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        os.close(descriptor)
        problem = "is empty" if stat.S_ISREG(status.st_mode) else "is not a file"
        raise InvalidInputError(f"{path} {problem}. Use a pickle written with cloudpickle.dump.")
    return os.fdopen(descriptor, "rb")
