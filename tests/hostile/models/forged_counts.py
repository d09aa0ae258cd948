"""Answers with counts and lengths that do not fit what follows."""

from inside import channel_of_the_runner

CODE = "bad_output"
SAYS = "The model's process answered nothing that can be read: a result shorter than its count."


def predict(live_features):
    import os
    import struct
    import time

    channel = channel_of_the_runner()
    channel.stage("write")
    os.write(channel._descriptor, b"R" + struct.pack(">III", 8, 4000, 0xFFFFFFFF))
    time.sleep(5)
