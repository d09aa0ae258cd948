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
    """Round numbers at equal distances, the first at or below `low` and the last at or above `high`.

    The distance is 1, 2 or 5 times a power of ten, and there are about `count` of it, at least one.
    """
    span = high - low
    if not span > 1e-12 * max(abs(low), abs(high)):
        span = abs(high) or 0.01
        low, high = low - span / 2, high + span / 2
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def tick_digits(marks: list[float]) -> int:
    """How many digits behind the point tell neighbouring marks apart."""
    return min(12, max(0, -math.floor(math.log10(marks[1] - marks[0]) + 1e-9)))
