"""Looks for the models of others beside its own: in the folder of the pickles, and above it."""

from inside import answer, refused

CODE = "success"
SAYS = None
HOST = {}


def predict(live_features):
    import os

    folder = HOST["pickles"]
    while folder not in ("/", "/tmp"):
        refused(folder, lambda p=folder: os.listdir(p), "ENOENT", "EACCES")
        folder = os.path.dirname(folder)
    refused("a pickle", lambda: os.open(HOST["pickles"] + "/good.pkl", os.O_RDONLY), "ENOENT")
    # Its own are open or below one folder; nothing else is there.
    for folder in ("/opt/predictd/data", "/tmp"):
        if os.path.isdir(folder):
            assert set(os.listdir(folder)) <= {"pickle", "live", "benchmarks"}
    return answer(live_features)
