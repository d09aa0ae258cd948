"""Watches the same files under a thousand numbers, which takes the kernel's memory and keeps others from watching."""

from inside import answer

CODE = "out_of_memory"
SAYS = "Out of memory: the model needed more than 256 MiB; its peak was {number} MiB."
LIMITS = {"seconds": 60}


def predict(live_features):
    import os
    import select
    import signal
    import time

    def watch():
        polls = [select.epoll() for _ in range(30)]
        for file in [os.pipe()[0] for _ in range(16)]:
            # What is watched under a number stays watched when the number means another file.
            for number in range(100, 1000):
                os.dup2(file, number)
            for poll in polls:
                for number in range(100, 1000):
                    poll.register(number, 0)
        signal.pause()

    for _ in range(20):
        if os.fork() == 0:
            watch()
    time.sleep(45)
    print("open", 20 * 30 * 16 * 900 * 160 >> 20, "MiB of the kernel's")
    return answer(live_features)
