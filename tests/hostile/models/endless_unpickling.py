"""Never ends, but already while it is unpickled."""

CODE = "timeout"
SAYS = "Timeout: the model had not ended after 1.5 seconds; it was at the stage 'unpickle' ({text})."
LIMITS = {"seconds": 1.5}


def wait():
    import time

    while True:
        time.sleep(1000)


class Model:
    def __reduce__(self):
        return wait, ()


model = Model()
