"""Hands out tables again and again, each of which the server would store on its disk."""

from inside import channel_of_the_runner

CODE = "bad_output"
SAYS = "The model's process answered nothing that can be read: tables out of order."


def predict(live_features):
    import time

    channel = channel_of_the_runner()
    channel.stage("write")
    while True:
        channel.tables(b"x" * 1000)
        time.sleep(0.01)
