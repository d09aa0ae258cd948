"""Raises an exception that leaves the process as if all were well when it is asked for its text."""

CODE = "exception"
SAYS = "The model raised Liar."


def predict(live_features):
    import sys

    class Liar(Exception):
        def __str__(self):  # noqa: PLE0307
            sys.exit(0)

        __repr__ = __str__

    raise Liar
