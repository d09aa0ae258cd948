"""What counts as one client, by its network address."""

import ipaddress


def client_key(address: str) -> str:
    """Return an IPv4 address as it is, and of an IPv6 address its /64 network, which a single client may use all of."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
