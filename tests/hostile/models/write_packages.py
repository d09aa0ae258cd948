"""Changes what the next run imports: the packages, their byte code, the interpreter, the runner, the system."""

from inside import answer, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import os
    import sys

    import cloudpickle
    import numpy
    import pandas

    runner = sys.modules["predictd_runner"].__path__[0]
    folders = [os.path.dirname(module.__file__) for module in (os, pandas, numpy, cloudpickle)]
    folders += [runner, os.path.dirname(runner), os.path.dirname(folders[1]), os.path.dirname(sys.executable)]
    folders += [sys.base_prefix, sys.prefix, "/usr/lib", "/usr/local/bin", "/etc", "/", "/dev", "/opt", "/proc"]
    for folder in folders:
        for name in ("sitecustomize.py", "evil.pth", "__init__.py", "__pycache__/evil.pyc"):
            path = os.path.join(folder, name)
            attempt = lambda p=path: os.open(p, os.O_CREAT | os.O_WRONLY, 0o666)  # noqa: E731
            refused(path, attempt, "EROFS", "EACCES", "ENOENT", "EPERM")
        refused(
            folder,
            lambda f=folder: os.rename(f, f + ".old"),
            "EROFS",
            "EACCES",
            "EPERM",
            "EBUSY",
            "EXDEV",
            "EINVAL",
            "ENOENT",
        )
        refused(folder, lambda f=folder: os.chmod(f, 0o777), "EROFS", "EACCES", "EPERM", "ENOENT")
    return answer(live_features)
