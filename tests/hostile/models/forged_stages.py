"""Says while it is unpickled that it is long past predicting."""

from inside import channel_of_the_runner

CODE = "bad_output"
SAYS = "The model's process answered nothing that can be read: a stage out of order."


def attack():
    import time

    channel_of_the_runner().stage("write")
    time.sleep(5)


class Model:
    def __reduce__(self):
        return attack, ()


model = Model()
