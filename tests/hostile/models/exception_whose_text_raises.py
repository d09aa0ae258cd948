"""Raises an exception that raises when it is asked for its text."""

CODE = "exception"
SAYS = "The model raised Liar."


def predict(live_features):
    class Liar(Exception):
        def __str__(self):
            raise ValueError("no text")

        __repr__ = __str__

    raise Liar
