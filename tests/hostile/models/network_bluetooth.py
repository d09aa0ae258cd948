"""Looks for radios: Bluetooth, NFC, CAN, IEEE 802.15.4 and phone modems."""

from inside import answer, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import socket

    for family in (31, 39, 29, 36, 35, 37):
        for kind in (1, 2, 3, 5):
            for protocol in range(8):
                make = lambda f=family, k=kind, p=protocol: socket.socket(f, k, p)  # noqa: E731
                refused(f"radio {family} {kind} {protocol}", make, "EAFNOSUPPORT")
    return answer(live_features)
