"""Tries every family of sockets there is but local ones, as a socket and as a pair; the kernel's crypto is one."""

from inside import answer, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import socket

    for family in [0, *range(2, 64), 1 << 32 | 2, (1 << 31) - 1]:
        for kind in (1, 2, 3, 4, 5):
            if family < 1 << 31:
                refused(f"{family} {kind}", lambda f=family, k=kind: socket.socket(f, k), "EAFNOSUPPORT")
                refused(f"pair {family} {kind}", lambda f=family, k=kind: socket.socketpair(f, k), "EAFNOSUPPORT")
    return answer(live_features)
