"""Asks the cloud's metadata service for the credentials of the machine."""

CODE = "network_access"
SAYS = (
    "The model tried to use the network, which it does not have: "
    "URLError: <urlopen error [Errno 97] Address family not supported by protocol>."
)


def predict(live_features):
    import urllib.request

    address = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"
    print("open", urllib.request.urlopen(address, timeout=5).read())
