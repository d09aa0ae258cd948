"""Format numbers for people, and choose the ticks of an axis."""

import math

MINUS = "\N{MINUS SIGN}"
NO_VALUE = "\N{EN DASH}"


def format_number(value: float | None, digits: int, unit: str = "", *, signed: bool = False) -> str:
    """Return the value with that many decimals, or a dash if there is none."""
    if value is None or math.isnan(value):
        return NO_VALUE
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    if not text.strip("+-0."):
        text = text.lstrip("+-")  # no sign for a value that rounds to 0
    return text.replace("-", MINUS) + unit


def ticks(low: float, high: float, count: int) -> list[float]:
    """Return at least two round numbers at equal distances from `low` to `high`, which differ.

    The distance is 1, 2 or 5 times a power of ten, for about `count` intervals.
    """
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    steps = [power * factor for factor in (0.5, 1, 2, 5, 10)]
    index = next(number for number, step in enumerate(steps) if step >= rough * (1 - 1e-9))
    marks = _multiples(steps[index], low, high)
    return marks if len(marks) > 1 else _multiples(steps[index - 1], low, high)


def widened(low: float, high: float) -> tuple[float, float]:
    """Return an axis range that contains both values, with a margin, and 0."""
    if low > high or not math.isfinite(high - low):
        low, high = 0.0, 0.0
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-12:
        return -0.01, 0.01
    room = 0.04 * (high - low)
    return low - room if low < 0 else 0.0, high + room if high > 0 else 0.0


def tick_digits(marks: list[float]) -> int:
    """Return the number of decimals that distinguish neighboring ticks."""
    return min(12, max(0, -math.floor(math.log10(marks[1] - marks[0]) + 1e-9)))


def _multiples(step: float, low: float, high: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]
