"""Which addresses may be opened for people: those of the public web, in whatever notation."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import ada_url
from aiohttp.abc import AbstractResolver, ResolveResult

from tooling.results import ToolFailure
from tooling.sentences import sentence
from tooling.untrusted import MAX_URL_CHARS, one_line

NO_ADDRESS = sentence("This is not the address of a web page.")
INSIDE = sentence("%(host)s is not on the public web, so it is not opened.")
PORT = sentence("Pages at port %(port)s are not opened.")
PASSWORD = sentence("Addresses that contain a user name or a password are not opened.")
UNKNOWN = sentence("There is no site named %(host)s.")
ADVICE = "Say so, and do not try another address of that place."


class UnknownName(ToolFailure):
    """Raised for a name that can't be resolved here."""


type IsPublic = Callable[[str, int], bool]  # of an IP address and a port
type LookUp = Callable[[str, int], Sequence[str]]  # the IP addresses of a name

# Names that networks give to what is theirs, whatever they resolve to.
OWN_NAMES = (
    *("localhost", "local", "localdomain", "internal", "intranet", "private", "lan", "home"),
    *("corp", "svc", "home.arpa", "onion", "alt", "test", "invalid"),
)
# Besides what Python knows to be no address of the internet.
INSIDE_V4 = [
    ip_network(each)
    for each in (
        "192.0.0.0/24",  # of protocols; 192.0.0.192 has metadata
        "192.88.99.0/24",  # relays of 6to4
        "168.63.129.16/32",  # Azure's own server, at a public address
    )
]
OUTSIDE_V6 = ip_network("2000::/3")
INSIDE_V6 = [
    ip_network(each)
    for each in (
        "2001::/23",  # of protocols, among them Teredo
        "2001:db8::/32",
        "2002::/16",  # 6to4, which holds an IPv4 address
        "3fff::/20",
    )
]
NAT64 = ip_network("64:ff9b::/96")  # the IPv4 internet, as networks with IPv6 alone have it
# Below 1024 only the web's own; above, all but those that browsers block.
BLOCKED_PORTS = frozenset(
    (1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6679, 6697, 10080)
) | frozenset(range(6665, 6670))


def page_address(url: str) -> str:
    """Return an address as browsers normalise it, without a fragment.

    Raise ToolFailure if it isn't one of the public web by its scheme, name or port. What its name
    resolves to is checked when it is opened.
    """
    parts = parsed(url)
    if parts.username or parts.password:
        raise ToolFailure(PASSWORD, advice=ADVICE)
    port = port_of(parts)
    if port not in (80, 443) and (port < 1024 or port in BLOCKED_PORTS):
        raise ToolFailure(PORT % {"port": port}, advice=ADVICE)
    if is_own_name(parts.hostname):
        raise inside(parts.hostname)
    parts.hash = ""
    return parts.href.removesuffix("#")


def parsed(url: str) -> ada_url.URL:
    """Return the parts of an http address as a browser reads them, or raise ToolFailure."""
    if len(url) > MAX_URL_CHARS or url != one_line(url):
        raise ToolFailure(NO_ADDRESS)
    try:
        # It writes all forms of an IPv4 address (octal, hex, one number) with four decimals.
        parts = ada_url.URL(url)
    except ValueError as exc:
        raise ToolFailure(NO_ADDRESS) from exc
    if parts.protocol not in ("http:", "https:") or not parts.hostname:
        raise ToolFailure(NO_ADDRESS)
    return parts


def port_of(parts: ada_url.URL) -> int:
    return int(parts.port) if parts.port else 443 if parts.protocol == "https:" else 80


def inside(host: str) -> ToolFailure:
    return ToolFailure(INSIDE % {"host": host}, advice=ADVICE)


def is_own_name(host: str) -> bool:
    """Return True if a name can't be one of the public web."""
    if as_ip(host) is not None:
        return False
    name = host.rstrip(".")
    return "." not in name or name.endswith(tuple(f".{own}" for own in OWN_NAMES))


def as_ip(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None


def is_public(address: str, port: int) -> bool:
    """Return True if an IP address is one of the public internet. Every port of it counts alike."""
    ip = as_ip(address)
    match ip:
        case IPv4Address():
            is_global = ip.is_global and not ip.is_multicast and not ip.is_reserved
            is_outside = is_global and not any(ip in network for network in INSIDE_V4)
            return is_outside and not is_own(address)
        case IPv6Address() if ip.scope_id:
            return False
        case IPv6Address() if ip.ipv4_mapped:
            return is_public(str(ip.ipv4_mapped), port)
        case IPv6Address() if ip in NAT64:
            return is_public(str(IPv4Address(int(ip) & 0xFFFF_FFFF)), port)
        case IPv6Address():
            is_outside = ip in OUTSIDE_V6 and not any(ip in network for network in INSIDE_V6)
            return is_outside and not is_own(address)
    return False


def is_own(address: str) -> bool:
    """Return True if an IP address is one of this machine's, which its firewall lets it reach."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            # It sends nothing. The way to an own address begins at that address.
            probe.connect((address, 9))
            return as_ip(str(probe.getsockname()[0])) == as_ip(address)
    except OSError:
        return False  # no way to it


def system_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a name, or raise OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class PublicResolver(AbstractResolver):
    """Resolves each name once for a connection, to addresses that are all public.

    The connection is made to what was checked: another answer a moment later changes nothing.
    """

    def __init__(self, *, is_public: IsPublic, look_up: LookUp, threads: Executor) -> None:
        self._is_public, self._look_up, self._threads = is_public, look_up, threads

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        # Not in the loop's threads: names may take long, and others need those.
        try:
            addresses = await loop.run_in_executor(self._threads, self._look_up, host, port)
        except (OSError, UnicodeError) as exc:
            raise UnknownName(UNKNOWN % {"host": host}) from exc
        if not addresses:
            raise UnknownName(UNKNOWN % {"host": host})
        if not all(self._is_public(address, port) for address in addresses):
            raise inside(host)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in dict.fromkeys(addresses)
        ]

    async def close(self) -> None:
        """Nothing is open."""


def public_sockets(is_public: IsPublic) -> Callable[..., socket.socket]:
    """Return what makes the socket of each connection, and none for an address that is inside.

    All connections come through here, also those to addresses that need no resolver.
    """

    def make(info: tuple[int, int, int, str, tuple[str | int, ...]]) -> socket.socket:
        family, kind, protocol, _, (host, port, *_) = info
        if not is_public(str(host), int(port)):
            raise inside(str(host))
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    return make
