"""Network addresses, as limits count them and as rows keep them."""

from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

SUBSCRIBER_PREFIX = 64  # bits. Who has one IPv6 address has all that begin with these


def address_of(scope: dict[str, Any]) -> str:
    """Return the address of an ASGI connection as limits count it; empty if it has none.

    An IPv6 address stands for its /64. A proxy's clients have their own address by now
    (`agenticfleet/proxies.py`).
    """
    client = scope.get("client")
    return counted(client[0]) if client else ""


def counted(address: str) -> str:
    """Return an address as limits count it; empty if it is none."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ip_network((parsed.packed, SUBSCRIBER_PREFIX), strict=False))
    return str(parsed)
