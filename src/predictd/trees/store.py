"""The tables of this process: loaded and newly built."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from .compiled import compile_forest, pack
from .errors import TablesError, UnsupportedModelError
from .evaluator import Evaluator

if TYPE_CHECKING:
    from collections.abc import Callable

    from .compiled import Buffer
    from .forest import Forest


class Store:
    """Evaluators by the fingerprint of their model and the kind of prediction.

    `stored` are tables from an earlier process, by fingerprint; they are verified on first use. Damaged tables are
    reported in `problems`, and the model is compiled again. `problems` also reports new tables whose results differ
    from the library's.
    """

    def __init__(self, stored: dict[bytes, Buffer] | None = None) -> None:
        self.stored = dict(stored or {})
        self.used: dict[bytes, Evaluator] = {}
        self.rejected: dict[bytes, str] = {}
        self.problems: list[str] = []
        self._new: set[bytes] = set()
        self._thread = threading.local()

    @property
    def last_fingerprint(self) -> bytes | None:
        """The last fingerprint that this thread requested; set it to None before a request."""
        fingerprint: bytes | None = getattr(self._thread, "last_fingerprint", None)
        return fingerprint

    @last_fingerprint.setter
    def last_fingerprint(self, fingerprint: bytes | None) -> None:
        self._thread.last_fingerprint = fingerprint

    def is_new(self, fingerprint: bytes) -> bool:
        """Return whether these tables were built in this process; stored tables were compared before."""
        return fingerprint in self._new

    def forget(self, fingerprint: bytes) -> None:
        """Drop tables that were built in this process."""
        self.used.pop(fingerprint, None)
        self._new.discard(fingerprint)

    def reject(self, fingerprint: bytes, reason: str) -> None:
        """Let the library itself predict for this model from now on."""
        self.rejected[fingerprint] = reason
        self.used.pop(fingerprint, None)
        self.problems.append(reason)

    def evaluator(self, fingerprint: bytes, build: Callable[[], Forest | bytes]) -> Evaluator:
        """Return the evaluator of the model with this fingerprint (32 bytes), from stored tables or from `build()`.

        `build` returns a forest, or its tables. Raises UnsupportedModelError if `build` or the compiler does, and
        immediately for later requests.
        """
        if fingerprint in self.rejected:
            raise UnsupportedModelError(self.rejected[fingerprint])
        evaluator = self.used.get(fingerprint) or self._from_stored(fingerprint)
        if evaluator is None:
            evaluator = self._built(fingerprint, build)
            self._new.add(fingerprint)
        self.used[fingerprint] = evaluator
        self.last_fingerprint = fingerprint
        return evaluator

    def _from_stored(self, fingerprint: bytes) -> Evaluator | None:
        tables = self.stored.get(fingerprint)
        if tables is None:
            return None
        try:
            return Evaluator(tables, fingerprint=fingerprint)
        except TablesError as error:
            self.problems.append(str(error))
            return None

    def _built(self, fingerprint: bytes, build: Callable[[], Forest | bytes]) -> Evaluator:
        try:
            result = build()
            return Evaluator(result if isinstance(result, bytes) else compile_forest(result, fingerprint=fingerprint))
        except UnsupportedModelError as error:
            self.rejected[fingerprint] = str(error)
            raise

    def export_tables(self) -> bytes:
        """Return the tables used or built in this process, as the content of a file; `compiled.unpack` reads it."""
        return pack({fingerprint: evaluator.tables for fingerprint, evaluator in self.used.items()})
