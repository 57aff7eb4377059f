"""Network addresses, as limits count them and as rows keep them."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from django.http import HttpRequest

type Address = IPv4Address | IPv6Address

SUBSCRIBER_PREFIX = 64  # bits. Who has one IPv6 address has all that begin with these


def address_of(scope: dict[str, Any]) -> str:
    """Return the address of an ASGI connection as limits count it; empty if it has none.

    An IPv6 address stands for its /64. A proxy's clients have their own address by now
    (`agenticfleet/proxies.py`).
    """
    client = scope.get("client")
    return counted(client[0]) if client else ""


def address_of_request(request: HttpRequest) -> str:
    """Return the same of a page's request."""
    return counted(request.META.get("REMOTE_ADDR", ""))


def counted(address: str) -> str:
    """Return an address as limits count it; empty if it is none."""
    parsed = parsed_address(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed.packed, SUBSCRIBER_PREFIX), strict=False))
    return str(parsed) if parsed else ""


def parsed_address(text: str) -> Address | None:
    """Return an address, as IPv4 if it is one that IPv6 maps; None if the text is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
