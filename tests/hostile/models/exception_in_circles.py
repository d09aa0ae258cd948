"""Raises an exception that is its own cause by a long way round, within groups a thousand deep."""

CODE = "exception"
SAYS = "The model raised ValueError: the last one."


def predict(live_features):
    first = previous = ValueError("the first one")
    for number in range(20_000):
        one = KeyError(number)
        one.__cause__ = one.__context__ = previous
        previous = one
    first.__cause__ = first.__context__ = previous
    last = ValueError("the last one")
    last.__cause__ = previous
    raise last
