"""Which proxy of the environment is on the way to an address."""

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined] # unknown to typeshed

from yarl import URL


def proxy_for(url: URL, proxies: Mapping[str, str]) -> str:
    """Return the proxy on the way to `url`, an empty string for none.

    `proxies` are those of the environment, as urllib.request.getproxies_environment returns them.
    This machine is never asked through one: a proxy elsewhere would reach another machine.
    """
    host = url.host or ""
    if (
        is_loopback(host)
        or proxy_bypass_environment(f"{host}:{url.port}", dict(proxies))
        or is_in_networks(host, proxies.get("no", ""))
    ):
        return ""
    proxy = proxies.get(url.scheme) or proxies.get("all") or ""
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def is_in_networks(host: str, names: str) -> bool:
    """Return True if NO_PROXY has the address of this host, or a network that has it."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    for name in names.split(","):
        try:
            if address in ip_network(name.strip(" []"), strict=False):
                return True
        except ValueError:
            continue
    return False


def socks_url(proxy: str) -> str:
    """Return a proxy's URL as aiohttp-socks knows it: curl's names say who resolves names, too."""
    scheme, _, rest = proxy.partition("://")
    return f"{'socks4' if scheme in ('socks4', 'socks4a') else 'socks5'}://{rest}"


def is_loopback(host: str) -> bool:
    """Return True if a host is this machine itself."""
    try:
        address = ip_address(host)
    except ValueError:
        return host.rstrip(".").endswith(".localhost") or host.rstrip(".") == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    # A server that listens on 0.0.0.0 is often written so in a client, too.
    is_here = address.is_loopback or address.is_unspecified
    return is_here or bool(mapped and mapped.is_loopback)
