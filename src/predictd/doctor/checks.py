"""What a check is, and running many of them at once."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from predictd.domain.errors import PredictdError

PATIENCE_SECONDS = 15.0


class State(StrEnum):
    """What was found."""

    OK = "ok"
    WARN = "warn"
    """It works, and somebody should look at it."""
    FAIL = "fail"
    """Something does not work."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding; `remedy` says what to do about it, empty where nothing is to be done."""

    name: str
    state: State
    told: str
    remedy: str = ""


Look = Callable[[], Iterable[Check]]


def ok(name: str, told: str) -> Check:
    """All is well."""
    return Check(name=name, state=State.OK, told=told)


def warn(name: str, told: str, remedy: str) -> Check:
    """Somebody should look at it."""
    return Check(name=name, state=State.WARN, told=told, remedy=remedy)


def fail(name: str, told: str, remedy: str) -> Check:
    """It does not work."""
    return Check(name=name, state=State.FAIL, told=told, remedy=remedy)


def run_checks(looks: Mapping[str, Look], seconds: float = PATIENCE_SECONDS) -> list[Check]:
    """All findings in the order of the looks, which all begin at once; one that raises or takes too long has failed."""
    found: dict[str, list[Check]] = {}

    def look_at(name: str, look: Look) -> None:
        try:
            found[name] = list(look())
        except PredictdError as error:
            found[name] = [fail(name, error.message, "")]
        except Exception as error:  # noqa: BLE001 (what is broken in whatever way is what is to be told)
            found[name] = [fail(name, f"{type(error).__name__}: {_first_line(error)}", "")]

    threads = {
        name: threading.Thread(target=look_at, args=(name, look), daemon=True, name=f"look-{name}")
        for name, look in looks.items()
    }
    for thread in threads.values():
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads.values():
        thread.join(max(0.0, deadline - time.monotonic()))
    late = [fail(name, f"no answer within {seconds:g} s", "See whether it hangs, and its log.") for name in looks]
    return [check for name, silent in zip(looks, late, strict=True) for check in found.get(name, [silent])]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")[:300]
