"""Announces an answer of four gigabytes and begins to send it."""

from inside import channel_of_the_runner

CODE = "output_too_large"
SAYS = "The output is larger than 8 MiB of predictions."


def predict(live_features):
    import os
    import time

    channel = channel_of_the_runner()
    channel.stage("write")
    os.write(channel._descriptor, b"R\xff\xff\xff\xff" + b"x" * 1000)
    time.sleep(5)
