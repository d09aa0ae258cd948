"""Asks the kernel over netlink for its routes, its audit log, its devices, and to make an interface of its own."""

from inside import answer, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import socket

    for protocol in range(23):
        for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM):
            what = f"netlink {protocol} {kind}"
            refused(what, lambda k=kind, p=protocol: socket.socket(socket.AF_NETLINK, k, p), "EAFNOSUPPORT")
    return answer(live_features)
