"""The tables of this process: those that were handed in, and those that were built."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from .compiled import compile_forest, pack
from .errors import TablesError, UnsupportedModel
from .evaluator import Evaluator

if TYPE_CHECKING:
    from collections.abc import Callable

    from .compiled import Buffer
    from .forest import Forest


class Store:
    """Evaluators by the fingerprint of their model and the kind of prediction.

    `kept` are tables from an earlier process, by fingerprint; they are checked when they are first asked for. Damaged
    ones are not used: `problems` says so, and the model is compiled anew. `problems` also says which new tables the
    library itself contradicts.
    """

    def __init__(self, kept: dict[bytes, Buffer] | None = None) -> None:
        self.kept = dict(kept or {})
        self.used: dict[bytes, Evaluator] = {}
        self.refused: dict[bytes, str] = {}
        self.problems: list[str] = []
        self._new: set[bytes] = set()
        self._thread = threading.local()

    @property
    def asked(self) -> bytes | None:
        """The fingerprint that this thread asked for last; whoever wants to know sets it to None before."""
        fingerprint: bytes | None = getattr(self._thread, "asked", None)
        return fingerprint

    @asked.setter
    def asked(self, fingerprint: bytes | None) -> None:
        self._thread.asked = fingerprint

    def is_new(self, fingerprint: bytes) -> bool:
        """Return whether these tables were built in this process; kept ones are of calls that were compared before."""
        return fingerprint in self._new

    def forget(self, fingerprint: bytes) -> None:
        """Drop tables that were built in this process."""
        self.used.pop(fingerprint, None)
        self._new.discard(fingerprint)

    def refuse(self, fingerprint: bytes, reason: str) -> None:
        """Let the library itself answer for this model from now on."""
        self.refused[fingerprint] = reason
        self.used.pop(fingerprint, None)
        self.problems.append(reason)

    def evaluator(self, fingerprint: bytes, make: Callable[[], Forest | bytes]) -> Evaluator:
        """The evaluator of the model with this fingerprint (32 bytes), from kept tables or from `make()`.

        `make` gives a forest, or its tables. Raises UnsupportedModel where `make` or the compiler did, at once when
        asked again.
        """
        if fingerprint in self.refused:
            raise UnsupportedModel(self.refused[fingerprint])
        evaluator = self.used.get(fingerprint) or self._kept(fingerprint)
        if evaluator is None:
            evaluator = self._made(fingerprint, make)
            self._new.add(fingerprint)
        self.used[fingerprint] = evaluator
        self.asked = fingerprint
        return evaluator

    def _kept(self, fingerprint: bytes) -> Evaluator | None:
        tables = self.kept.get(fingerprint)
        if tables is None:
            return None
        try:
            return Evaluator(tables, fingerprint=fingerprint)
        except TablesError as error:
            self.problems.append(str(error))
            return None

    def _made(self, fingerprint: bytes, make: Callable[[], Forest | bytes]) -> Evaluator:
        try:
            made = make()
            return Evaluator(made if isinstance(made, bytes) else compile_forest(made, fingerprint=fingerprint))
        except UnsupportedModel as error:
            self.refused[fingerprint] = str(error)
            raise

    def built(self) -> bytes:
        """The tables that were used or built in this process, as one file's content; `tables.unpack` reads it."""
        return pack({fingerprint: evaluator.tables for fingerprint, evaluator in self.used.items()})
