"""Reports a failure that is only for the platform to tell: that it was out of time."""

from inside import answer, channel_of_the_runner

CODE = "bad_output"
SAYS = "The model's process answered nothing that can be read: a failure that a runner can't report."


def predict(live_features):
    import time

    channel_of_the_runner()._send_json(b"F", {"code": "timeout", "detail": "forged"})
    time.sleep(0.5)
    return answer(live_features)
