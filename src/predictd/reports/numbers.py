"""Numbers as people read them, and the round numbers of an axis."""

import math

MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"


def shown(value: float | None, digits: int, unit: str = "", *, signed: bool = False) -> str:
    """The value with so many digits behind the point; a dash where there is none."""
    if value is None or math.isnan(value):
        return NOTHING
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    if not text.strip("+-0."):
        text = text.lstrip("+-")  # no sign of what is rounded to 0
    return text.replace("-", MINUS) + unit


def ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers at equal distances from `low` to `high`, which differ; there are at least two.

    The distance is 1, 2 or 5 times a power of ten, and there are about `count` of it.
    """
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    steps = [power * factor for factor in (0.5, 1, 2, 5, 10)]
    at = next(number for number, step in enumerate(steps) if step >= rough * (1 - 1e-9))
    marks = _multiples(steps[at], low, high)
    return marks if len(marks) > 1 else _multiples(steps[at - 1], low, high)


def widened(low: float, high: float) -> tuple[float, float]:
    """A range of an axis that holds both with room around, and 0 at its end or in it."""
    if low > high or not math.isfinite(high - low):
        low, high = 0.0, 0.0
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-12:
        return -0.01, 0.01
    room = 0.04 * (high - low)
    return low - room if low < 0 else 0.0, high + room if high > 0 else 0.0


def tick_digits(marks: list[float]) -> int:
    """How many digits behind the point tell neighbouring marks apart."""
    return min(12, max(0, -math.floor(math.log10(marks[1] - marks[0]) + 1e-9)))


def _multiples(step: float, low: float, high: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]
