"""Talks to the hypervisor and to other virtual machines over vsock."""

from inside import answer, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import socket

    def connect(cid, port):
        with socket.socket(40, socket.SOCK_STREAM) as one:
            one.connect((cid, port))

    for cid in (0, 1, 2, 3):
        for port in (22, 1024):
            refused(f"vsock {cid}:{port}", lambda c=cid, p=port: connect(c, p), "EAFNOSUPPORT")
    return answer(live_features)
