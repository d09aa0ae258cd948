"""Models of many kinds; run by a runtime's interpreter as `models.py FOLDER [NAME...]` to pickle them there."""

import functools
import sys

import cloudpickle
import pandas as pd


def answer(live):
    return pd.DataFrame({"prediction": (live["feature_a"] + 1) / 6}, index=live.index)


def good(live):
    return answer(live)


def good_with_two(live, benchmarks):
    return answer(live) * benchmarks["v5_model"].to_frame("prediction").notna()


def good_with_defaults(live, benchmarks=None):
    assert benchmarks is not None
    return answer(live)


def says_how_many(*arguments):
    print(len(arguments), "arguments")
    return answer(arguments[0])


def any_and_keywords(*arguments, **options):
    return says_how_many(*arguments)


def one_and_any(live, *others):
    return says_how_many(live, *others)


def second_default(live, proportion=0.5):
    return says_how_many(live, proportion)


def after_a_scale(scale, live):
    return says_how_many(live)


def two_defaults(live, proportion=0.5, verbose=False):
    return says_how_many(live)


def keyword_default(live, *, scale=1.0):
    return says_how_many(live)


def keywords(live, **options):
    return says_how_many(live)


def no_parameters():
    return None


@functools.wraps(good)
def wraps_one(*arguments):
    return says_how_many(*arguments)


@functools.wraps(good_with_two)
def wraps_two(*arguments, **options):
    return says_how_many(*arguments)


@functools.wraps(two_defaults)
def wraps_three(*arguments):
    return says_how_many(*arguments)


class Counts:
    def __call__(self, *arguments):
        return says_how_many(*arguments)

    def method(self, live, live_benchmark_models=None):
        return says_how_many(live, live_benchmark_models)

    def method_of_three(self, live, benchmarks, third):
        return answer(live)


class Callable:
    def __init__(self, scale):
        self.scale = scale

    def __call__(self, live):
        return answer(live) * self.scale


def prints(live):
    print("to stdout: ü")
    print("to stderr", file=sys.stderr)
    return answer(live)


def draws(live):
    import random

    import numpy as np

    print(random.random(), np.random.random(), live["feature_a"].sum())
    live["feature_a"] = 0
    live.to_numpy()[:] = 9
    return answer(live)


def missing_module(live):
    import tensorflow_of_somebody

    return tensorflow_of_somebody.predict(live)


def three(live, benchmarks, third):
    return answer(live)


def keyword_only(live, *, seed):
    return answer(live)


def series(live):
    return answer(live)["prediction"]


def nothing(live):
    answer(live)


def text_column(live):
    return pd.DataFrame({"prediction": "high"}, index=live.index)


def empty(live):
    return answer(live).iloc[:0]


def raises(live):
    def inner_function():
        raise TypeError("no such feature: feature_zz")

    return inner_function()


def leaves(live):
    sys.exit(3)


def leaves_at_once(live):
    import os

    os._exit(0)


def segfault(live):
    import ctypes

    ctypes.string_at(0)


def aborts(live):
    import os

    os.abort()


def loops(live):
    print("looping", flush=True)
    while True:
        pass


def hungry(live):
    import numpy as np

    print("hungry")
    return [np.ones(8 << 27) for _ in range(1)]  # 8 GiB of float64


def asks_for_too_much(live):
    import numpy as np

    return np.empty(1 << 57)


def ranks_benchmarks(live, benchmarks):
    assert live["era"].nunique() == 1
    assert benchmarks.index.equals(live.index)
    print("one era of", len(live), "rows")
    return benchmarks[["v5_model"]].rank(pct=True)


def hungry_child(live):
    import os
    import time

    if os.fork() == 0:
        hungry(live)
    time.sleep(60)


def fills_the_scratch(live):
    with open("/tmp/file", "wb") as file:
        for _ in range(1 << 14):
            file.write(b"x" * (1 << 20))
    return answer(live)


def inet(live):
    import socket

    socket.create_connection(("93.184.216.34", 80), timeout=5)


def resolves(live):
    import urllib.request

    urllib.request.urlopen("http://example.com/list.csv", timeout=5)


def fork_bomb(live):
    import os

    while True:
        os.fork()


def floods(live):
    while True:
        print("x" * 100_000)


def daemon(live):
    import os
    import time

    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv("/usr/bin/sleep", ["sleep", "98765.4321"])
        os._exit(0)
    time.sleep(0.3)
    return answer(live)


def forks_and_both_answer(live):
    import os

    os.fork()
    return answer(live)


def _on_every_descriptor(data):
    import os
    import time

    for descriptor in range(3, 1024):
        try:
            os.write(descriptor, data)
        except OSError:
            continue
    time.sleep(0.5)


def garbage(live):
    _on_every_descriptor(b"\x00garbage" * 1000)
    return answer(live)


def forged_failure(live):
    import struct

    text = b'{"code": "nan_predictions", "detail": "forged"}'
    _on_every_descriptor(b"F" + struct.pack(">I", len(text)) + text)
    return answer(live)


def forged_platform(live):
    import struct

    text = b'{"detail": "retry me for ever"}'
    _on_every_descriptor(b"P" + struct.pack(">I", len(text)) + text)
    return answer(live)


def forged_length(live):
    _on_every_descriptor(b"R\xff\xff\xff\xff")
    return answer(live)


def closes_everything(live):
    import os

    os.closerange(3, 1024)
    return answer(live)


def ends_in_a_frame(live):
    import os

    _on_every_descriptor(b"F\x00\x00\x01\x00")
    os._exit(0)


def x32_call(live):
    import ctypes

    ctypes.CDLL(None).syscall(0x40000000 + 39)
    return answer(live)


def spawns(live):
    import multiprocessing

    import numpy as np

    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(np.sqrt, [4.0, 9.0]) == [2.0, 3.0]
    return answer(live)


def workers(live):
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]
    return answer(live)


def escapes(live):
    """Prints 'open NAME' for each attempt that works, 'shut NAME' for each that does not."""
    import ctypes
    import os
    import socket
    from pathlib import Path

    libc = ctypes.CDLL(None, use_errno=True)

    def call(*args):
        if libc.syscall(*args) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def write(path):
        with open(path, "r+b") as file:
            file.write(b"x")

    def create(path):
        with open(path, "wb") as file:
            file.write(b"x")

    def reopen_inputs():
        for name in os.listdir("/proc/self/fd"):
            path = "/proc/self/fd/" + name
            if os.path.isfile(path):
                write(path)
                return
        write("/opt/predictd/data/live")

    def others():
        pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
        names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids]
        if not all(name.startswith(("bwrap", "python")) for name in names):
            return
        raise OSError(str(names))

    attempts = {
        "shadow": lambda: open("/etc/shadow").close(),
        "root's home": lambda: os.listdir("/root"),
        "homes": lambda: os.listdir("/home"),
        "sys": lambda: os.listdir("/sys"),
        "packages": lambda: create("/opt/packages/evil.py"),
        "a package": lambda: write("/opt/packages/cloudpickle/__init__.py"),
        "interpreter": lambda: create(os.path.join(sys.prefix, "evil")),
        "runner": lambda: create("/opt/predictd/predictd_runner/evil.py"),
        "root folder": lambda: create("/evil"),
        "devices": lambda: create("/dev/evil"),
        "usr": lambda: create("/usr/evil"),
        "inputs": reopen_inputs,
        "core pattern": lambda: write("/proc/sys/kernel/core_pattern"),
        "other processes": others,
        "kill all": lambda: os.kill(1, 9) or (os.stat("/proc/1") and others()),
        "setuid": lambda: os.setuid(0),
        "inet": lambda: socket.socket(socket.AF_INET),
        "vsock": lambda: socket.socket(40, socket.SOCK_STREAM),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "ptrace": lambda: call(101, 0, 0, 0, 0),
        "mount": lambda: call(165, b"tmpfs", b"/tmp", b"tmpfs", 0, 0),
        "new user namespace": lambda: call(272, 0x10000000),
        "clone a namespace": lambda: call(56, 0x10000000 | 17, 0, 0, 0, 0),
        "clone3": lambda: call(435, 0, 0),
        "keyctl": lambda: call(250, 0, 0, 0),
        "bpf": lambda: call(321, 0, 0, 0),
        "io_uring": lambda: call(425, 1, 0),
        "perf": lambda: call(298, 0, 0, 0, 0, 0),
    }
    for name, attempt in attempts.items():
        try:
            attempt()
        except OSError as error:
            print("shut", name, error)
        else:
            print("open", name)
    for pid in os.listdir("/proc"):
        if pid.isdecimal():
            try:
                print("environment", pid, Path(f"/proc/{pid}/environ").read_text())
            except OSError:
                continue
    return answer(live)


MODELS = {name: thing for name, thing in list(globals().items()) if callable(thing) and not name.startswith("_")}
MODELS["Callable"] = Callable(0.5)
MODELS["Counts"] = Counts()
MODELS["method"] = Counts().method
MODELS["method_of_three"] = Counts().method_of_three
MODELS["partial_by_position"] = functools.partial(after_a_scale, 0.5)
MODELS["partial_by_name"] = functools.partial(second_default, proportion=0.2)
MODELS["of_no_signature"] = max
MODELS["not_callable"] = {"weights": [1.0]}

if __name__ == "__main__":
    folder, *names = sys.argv[1:]
    for name in names or MODELS:
        with open(f"{folder}/{name}.pkl", "wb") as file:
            cloudpickle.dump(MODELS[name], file)
