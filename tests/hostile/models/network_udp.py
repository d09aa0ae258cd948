"""Carries data out in UDP datagrams: to a name server of the Internet, by broadcast, and to a port of this machine."""

from inside import answer, refused

CODE = "success"
SAYS = None
HOST = {}


def predict(live_features):
    import socket

    def send(address, family=socket.AF_INET):
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            return one.sendto(b"the secret weights", address)

    refused("a name server", lambda: send(("8.8.8.8", 53)), "EAFNOSUPPORT")
    refused("broadcast", lambda: send(("255.255.255.255", 9)), "EAFNOSUPPORT")
    refused("this machine", lambda: send(("127.0.0.1", HOST["udp"])), "EAFNOSUPPORT")
    refused("multicast", lambda: send(("ff02::1", 9), socket.AF_INET6), "EAFNOSUPPORT")
    return answer(live_features)
