"""Leaves import hooks, start-up files, shared memory and queues behind for the next run, and looks for its own."""

from inside import answer

CODE = "success"
SAYS = None
RUNS = 2


def predict(live_features):
    import os
    from multiprocessing import shared_memory

    home = os.environ["HOME"]
    traces = [
        "sitecustomize.py",
        "usercustomize.py",
        "numpy.py",
        ".pythonrc",
        ".bashrc",
        "hostile-file",
        ".config/evil",
    ]
    traces += [f".local/lib/python3.{minor}/site-packages/evil.pth" for minor in range(10, 14)]
    for folder in {home, "/tmp", "/dev/shm"}:
        for trace in traces:
            path = os.path.join(folder, trace)
            assert not os.path.exists(path), path
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write("import os; print('open: poisoned'); os._exit(1)\n")
    shared_memory.SharedMemory(name="hostile-memory", create=True, size=4096)
    return answer(live_features)
