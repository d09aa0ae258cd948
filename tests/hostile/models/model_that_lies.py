"""Is a callable whose signature raises when it is asked for."""

CODE = "exception"
SAYS = "The model raised ZeroDivisionError: no signature."


class Model:
    @property
    def __signature__(self):
        raise ZeroDivisionError("no signature")

    def __call__(self, *arguments):
        print("open: called without a signature")


model = Model()
