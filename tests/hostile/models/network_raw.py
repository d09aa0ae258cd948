"""Makes raw and packet sockets, to forge packets or to read what passes on the wire."""

from inside import answer, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import socket

    for protocol in (1, 6, 17, 255):
        refused(f"raw {protocol}", lambda p=protocol: socket.socket(2, socket.SOCK_RAW, p), "EAFNOSUPPORT")
        refused(f"raw 6 {protocol}", lambda p=protocol: socket.socket(10, socket.SOCK_RAW, p), "EAFNOSUPPORT")
    for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM, 10):
        refused(f"packet {kind}", lambda k=kind: socket.socket(socket.AF_PACKET, k, 0x0300), "EAFNOSUPPORT")
    refused("ping", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1), "EAFNOSUPPORT")
    return answer(live_features)
