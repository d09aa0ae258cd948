"""Raises an exception whose text never comes."""

CODE = "timeout"
SAYS = "Timeout: the model had not ended after 1.5 seconds; it was at the stage 'predict' ({text})."
LIMITS = {"seconds": 1.5}


def predict(live_features):
    class Liar(Exception):
        def __str__(self):  # noqa: PLE0307
            while True:
                pass

    raise Liar
