"""Renames the machine."""

from inside import answer, call, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import socket
    from pathlib import Path

    refused("sethostname", lambda: socket.sethostname("hostile"), "EPERM")
    refused("sethostname by number", lambda: call("sethostname", b"hostile", 7), "EPERM")
    refused("setdomainname", lambda: call("setdomainname", b"hostile", 7), "EPERM")
    for name in ("hostname", "domainname"):
        path = Path("/proc/sys/kernel", name)
        refused(name, lambda p=path: p.write_text("hostile"), "EROFS", "EACCES", "EPERM")
    assert socket.gethostname() == "predictd"
    return answer(live_features)
