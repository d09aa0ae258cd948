"""Leaves behind what would change the answer after it was given: threads, children, finalizers, handlers at exit."""

from inside import answer, channel_of_the_runner

CODE = "success"
SAYS = None


def predict(live_features):
    import atexit
    import os
    import threading
    import time
    import weakref

    import pandas as pd

    channel = channel_of_the_runner()
    frames = b'S\x00\x00\x00\x12{"stage": "write"}R\x00\x00\x00\x04\x00\x00\x00\x00'

    def forge(*_):
        os.write(channel._descriptor, frames)

    class Frame(pd.DataFrame):
        def __del__(self):
            self.loc[:] = 0.0

    def later():
        time.sleep(1)
        forge()

    right = Frame(answer(live_features))
    atexit.register(forge)
    weakref.finalize(right, forge)
    threading.Thread(target=later).start()
    if os.fork() == 0:
        later()
        os._exit(0)
    return right
