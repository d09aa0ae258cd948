"""The pipe for the output of the runner: frames of a type byte, a big-endian u32 length and a payload.

`predictd.sandbox.protocol` reads and validates them.
"""

import fcntl
import json
import os
import struct
from typing import Any

STAGE = b"S"
VERSIONS = b"V"
FAILURE = b"F"
PLATFORM = b"P"
MODULES = b"M"
TABLES = b"T"
RESULT = b"R"
# Modules that a fork server can import in advance.
USUAL_MODULES = ("catboost", "lightgbm", "sklearn", "xgboost")

# Exit code if the pipe is closed.
CHANNEL_CLOSED_EXIT = 70
_HIGH_DESCRIPTOR = 500


class Channel:
    """Writes frames; a process that was forked by the model never writes any."""

    def __init__(self, descriptor: int) -> None:
        # A high number, closed on exec: models may close or reuse low descriptors.
        self._descriptor = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH_DESCRIPTOR)
        os.close(descriptor)
        self._pid = os.getpid()

    def stage(self, name: str) -> None:
        """Report that the stage `name` starts."""
        self._send_json(STAGE, {"stage": name})

    def versions(self, pythons: list[str], packages: dict[str, list[str]]) -> None:
        """Report the Pythons that can have created the pickle, and the versions of packages that differ."""
        self._send_json(VERSIONS, {"pythons": pythons, "packages": packages})

    def failure(
        self,
        code: str,
        detail: str,
        packages: dict[str, str],
        cause: "str | None" = None,
        facts: "dict[str, str] | None" = None,
    ) -> None:
        """Report why there is no result.

        Args:
            code: of the failure.
            detail: of the failure, for its message.
            packages: name and version of the packages in whose code it happened.
            cause: within the code, if known.
            facts: fields of the remedy of the cause.
        """
        content = {"code": code, "detail": detail[:2000], "packages": packages, "cause": cause, "facts": facts or {}}
        self._send_json(FAILURE, content)

    def platform(self, detail: str) -> None:
        """Report that the runtime is broken; only accepted before the user's code is loaded."""
        self._send_json(PLATFORM, {"detail": detail[:2000]})

    def modules(self, names: list[str]) -> None:
        """Report which of USUAL_MODULES the model imported."""
        self._send_json(MODULES, {"modules": names})

    def tables(self, content: bytes) -> None:
        """Send the compiled tables of the model's trees."""
        self._send(TABLES, content)

    def result(self, ids: list[str], values: bytes) -> None:
        """Send the predictions: u32 count, u32 length per id, ids in UTF-8, values in little-endian float64."""
        joined = "".join(ids)
        if joined.isascii():
            texts, lengths = joined.encode("ascii"), list(map(len, ids))
        else:
            encoded = [text.encode("utf-8", "replace") for text in ids]
            texts, lengths = b"".join(encoded), list(map(len, encoded))
        self._send(RESULT, struct.pack(f">{len(ids) + 1}I", len(ids), *lengths) + texts + values)

    def _send_json(self, kind: bytes, content: dict[str, Any]) -> None:
        self._send(kind, json.dumps(content).encode("ascii"))

    def _send(self, kind: bytes, payload: bytes) -> None:
        if os.getpid() != self._pid:
            os._exit(0)
        try:
            frame = memoryview(kind + struct.pack(">I", len(payload)) + payload)
            while frame:
                frame = frame[os.write(self._descriptor, frame) :]
        except OSError:
            os._exit(CHANNEL_CLOSED_EXIT)
        except struct.error:  # longer than a u32
            self.failure("output_too_large", "", {})
