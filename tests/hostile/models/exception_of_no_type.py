"""Raises an exception whose type has no name, no module and no base that can be asked."""

CODE = "exception"
SAYS = "The model raised {text}."


def predict(live_features):
    class Meta(type):
        def __getattribute__(cls, name):
            raise RuntimeError("no such thing")

    class Liar(Exception, metaclass=Meta):
        pass

    raise Liar("text")
