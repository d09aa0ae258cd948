"""Sends small frames for ever, each as it should be."""

from inside import channel_of_the_runner

CODE = "bad_output"
SAYS = "The model's process answered nothing that can be read: too many frames."


def predict(live_features):
    channel = channel_of_the_runner()
    while True:
        channel._send_json(b"V", {"pythons": [], "packages": {}})
