"""Changes the live data while it is unpickled, for the models after it: by path, by what is open, by mapping it."""

from inside import answer, refused

CODE = "success"
SAYS = None
HOST = {}


def attack():
    import mmap
    import os
    import stat

    paths = [HOST["pickles"] + "/live.parquet"]
    if os.path.isdir("/opt/predictd/data"):
        paths += [f"/opt/predictd/data/{name}" for name in os.listdir("/opt/predictd/data")]
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                continue
        except OSError:  # that of the listing
            continue
        paths.append(f"/proc/self/fd/{name}")
        refused(f"write {name}", lambda d=descriptor: os.write(d, b"x"), "EBADF")
        refused(f"truncate {name}", lambda d=descriptor: os.ftruncate(d, 0), "EINVAL", "EBADF")
        refused(f"map {name}", lambda d=descriptor: mmap.mmap(d, 1, mmap.MAP_SHARED), "EACCES")
        refused(f"mode {name}", lambda d=descriptor: os.fchmod(d, 0o777), "EROFS", "EPERM")
    assert len(paths) >= 3
    for path in paths:
        refused(path, lambda p=path: os.open(p, os.O_RDWR), "EROFS", "EACCES", "ENOENT")
        refused(path, lambda p=path: os.truncate(p, 0), "EROFS", "EACCES", "ENOENT", "EPERM")
        refused(path, lambda p=path: os.chmod(p, 0o777), "EROFS", "EACCES", "ENOENT", "EPERM")
        if not path.startswith("/proc"):
            refused(path, lambda p=path: os.unlink(p), "EROFS", "EACCES", "ENOENT", "EPERM", "EBUSY")
    return answer


class Model:
    def __reduce__(self):
        return attack, ()


model = Model()
