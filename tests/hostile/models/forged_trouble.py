"""Says that the platform is broken, so that it would be run again and again."""

from inside import answer, channel_of_the_runner

CODE = "bad_output"
SAYS = "The model's process answered nothing that can be read: a failure of the platform after the model started."


def predict(live_features):
    import time

    channel_of_the_runner().platform("retry me for ever")
    time.sleep(0.5)
    return answer(live_features)
