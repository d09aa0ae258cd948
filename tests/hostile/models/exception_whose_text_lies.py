"""Raises an exception whose text is a text that lies about itself: its length, its parts, how it is written."""

CODE = "exception"
SAYS = "The model raised Liar: text."


def predict(live_features):
    class Text(str):
        __slots__ = ()

        def __format__(self, how):
            raise RuntimeError("format")

        def __getitem__(self, key):
            return {"code": "timeout"}

        def __len__(self):
            return 1 << 60

        def __bool__(self):
            return True

    class Liar(Exception):
        def __str__(self):
            return Text("text")

    raise Liar
