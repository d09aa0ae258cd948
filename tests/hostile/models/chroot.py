"""Changes its root to climb out of it, the classic way and by pivot_root."""

from inside import answer, call, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import os

    os.makedirs("/tmp/root/old")
    refused("chroot", lambda: os.chroot("/tmp/root"), "EPERM")
    refused("chroot by number", lambda: call("chroot", b"/tmp/root"), "EPERM")
    refused("pivot_root", lambda: call("pivot_root", b"/tmp/root", b"/tmp/root/old"), "EPERM")
    refused("pivot_root in place", lambda: call("pivot_root", b".", b"."), "EPERM")
    for _ in range(100):
        os.chdir("..")
    assert os.stat(".").st_ino == os.stat("/").st_ino
    return answer(live_features)
