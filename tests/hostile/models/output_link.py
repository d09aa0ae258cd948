"""Puts links to files of the machine where an answer could be looked for, and hard links to what it was given."""

from inside import answer, refused

CODE = "success"
SAYS = None
HOST = {}


def predict(live_features):
    import os

    targets = ["/etc/shadow", HOST["secret_file"], HOST["database"], "/proc/1/environ", "/dev/zero", "/"]
    for number, target in enumerate(targets):
        for name in ("output", "predictions.csv", "log", "answer"):
            os.symlink(target, f"/tmp/{name}.{number}")
    for source in ("/usr/bin/env", "/etc/passwd", "/opt/predictd/predictd_runner/main.py"):
        refused(source, lambda s=source: os.link(s, "/tmp/hostile-link"), "EXDEV", "EPERM", "EROFS")
    refused("the scratch itself", lambda: os.rename("/tmp", "/var"), "EBUSY", "EROFS", "EXDEV")
    refused("the scratch itself", lambda: os.rmdir("/tmp"), "EBUSY", "EROFS", "ENOTEMPTY")
    return answer(live_features)
