"""Addresses that lead inside are not opened, in whatever notation, and however one gets there."""

import asyncio
import socket

import pytest

from tooling.pages import fetching, guard
from tooling.pages.guard import is_public, page_address
from tooling.pages.reader import PageReader
from tooling.results import ToolFailure

from .web import Names, Served, Site, reader

pytestmark = pytest.mark.bulk

# %d is the port of a server on this machine that would answer.
LOOPBACK = (
    "http://127.0.0.1:%d/",
    "http://127.0.0.2:%d/",
    "http://127.255.255.254:%d/",
    "http://127.1:%d/",
    "http://127.0.1:%d/",
    "http://2130706433:%d/",
    "http://0x7f000001:%d/",
    "http://0x7f.0.0.1:%d/",
    "http://0x7f.1:%d/",
    "http://0177.0.0.1:%d/",
    "http://0177.0.0.01:%d/",
    "http://017700000001:%d/",
    "http://00000177.0x0.0.1:%d/",
    "http://127.0.0.1.:%d/",
    "http://0:%d/",
    "http://0.0.0.0:%d/",
    "http://[::1]:%d/",
    "http://[::]:%d/",
    "http://[0:0:0:0:0:0:0:1]:%d/",
    "http://[::ffff:127.0.0.1]:%d/",
    "http://[::ffff:7f00:1]:%d/",
    "http://[0000:0000:0000:0000:0000:ffff:7f00:0001]:%d/",
    "http://[::127.0.0.1]:%d/",
    "http://[64:ff9b::127.0.0.1]:%d/",
    "http://[64:ff9b::7f00:1]:%d/",
    "http://[64:ff9b:1::7f00:1]:%d/",
    "http://[2002:7f00:1::]:%d/",
    "http://[2001:0:53aa:64c:0:0:80ff:fffe]:%d/",
    "http://１２７.０.０.１:%d/",
    "http://⑫⑦.⓪.⓪.①:%d/",
    "http://127。0。0。1:%d/",
    "http://127．0．0．1:%d/",
    "http://%%31%%32%%37.0.0.1:%d/",
    "http://localhost:%d/",
    "http://LOCALHOST:%d/",
    "http://localhost.:%d/",
    "http://ｌｏｃａｌｈｏｓｔ:%d/",
    "http://loc%%61lhost:%d/",
    "http://app.localhost:%d/",
    "http:\\\\127.0.0.1:%d/",
    "http:/127.0.0.1:%d/",
    "http://site.example@127.0.0.1:%d/",
    "http://127.0.0.1:%d#@site.example/",
    "http://127.0.0.1:%d\\@site.example/",
    "hTTp://127.0.0.1:%d/",
    "http://127.000.000.001:%d/",
    "http://127.0.65535:%d/",
    "http://127.0.0.0x1:%d/",
    "http://0177.0x0.1:%d/",
    "http://0x7f.0x0.0x0.0x1:%d/",
    "http://0X7F000001:%d/",
    "http://0x7f000001.:%d/",
    "http://0x00000000007f000001:%d/",
    "http://127.0.0.1。:%d/",
    "http://①②⑦.0.0.1:%d/",
    "http://127%%2e0%%2e0%%2e1:%d/",
    "http://[::ffff:127.1.2.3]:%d/",
    "http://[::ffff:0:127.0.0.1]:%d/",
    "http://[64:ff9b:1::127.0.0.1]:%d/",
    "http://[2002:7f00:1:1::1]:%d/",
    "http://[::1%%25lo]:%d/",
    "http://localhost。:%d/",
    "http://a.b.localhost:%d/",
    "http://localhost.localdomain:%d/",
    "http://127.0.0.1:%d/?@site.example/",
    "http://127.0.0.1:%d\t/",
    "https://127.0.0.1:%d/",
)
OTHERS = (
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://169.254.43518/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fd00:ec2::254]/",
    "http://100.100.100.200/",
    "http://192.0.0.192/",
    "http://168.63.129.16/",
    "http://metadata.google.internal/",
    "http://metadata/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://198.18.0.1/",
    "http://192.0.2.1/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://192.88.99.1/",
    "http://[fc00::1]/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    "http://[100::1]/",
    "http://[5f00::1]/",
    "http://router/",
    "http://printer.local/",
    "http://wiki.corp/",
    "http://kubernetes.default.svc/",
    "http://nas.home.arpa/",
    "http://user:password@site.example/",
    "http://user@site.example/",
    "ftp://site.example/",
    "file:///etc/passwd",
    "gopher://site.example:70/",
    "data:text/html,hello",
    "javascript:alert(1)",
    "//site.example/",
    "site.example",
    "http://",
    "http:///",
    "http://site.example:22/",
    "http://site.example:25/",
    "http://site.example:6667/",
    "http://site.example:0/",
    "http://site.example:99999/",
    "http://site .example/",
    "http://site.example/\u202ea",
    "http://[::1/",
    "http://1.2.3.4.5/",
    "http://256.256.256.256/",
)


async def refusal(pages: PageReader, url: str) -> str:
    with pytest.raises(ToolFailure) as failure:
        await pages.read(url)
    return failure.value.message


# In a redirect these are paths, or lead to the same site.
ON_SAME_SITE = ("//site.example/", "site.example", "http://", "http:///")
REFUSALS = ("not on the public web", "are not opened", "not the address of a web page")


@pytest.mark.parametrize("url", LOOPBACK)
async def test_no_notation_of_this_machine_is_opened(
    pages: PageReader, inside: Site, names: Names, url: str
) -> None:
    # A name server of an attacker may say anything of names that only look like addresses.
    for host in ("127.0.0.1.", "localhost", "localhost.", "a.b.localhost", "localhost.localdomain"):
        names.answers[host] = [["127.0.0.1"]]
    message = await refusal(pages, url % inside.port)
    assert any(words in message for words in REFUSALS), message
    assert inside.requests == []


@pytest.mark.parametrize("url", OTHERS)
async def test_no_other_address_but_those_of_the_public_web_is_opened(
    pages: PageReader, url: str
) -> None:
    message = await refusal(pages, url)
    assert any(words in message for words in REFUSALS), message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_leads_inside_nowhere(
    pages: PageReader, public: Site, inside: Site, status: int
) -> None:
    public.moves("/", f"http://127.0.0.1:{inside.port}/", status=status)
    assert "not on the public web" in await refusal(pages, f"http://site.example:{public.port}/")
    assert (len(public.requests), inside.requests) == (1, [])


async def test_redirect_is_checked_in_every_notation(
    pages: PageReader, public: Site, inside: Site
) -> None:
    for to in [*(url % inside.port for url in LOOPBACK), *OTHERS]:
        if to in ON_SAME_SITE or to.startswith("http:/1"):
            continue
        # Its header can't have other letters than ASCII as they are.
        public.moves("/", to.encode().decode("latin-1"))
        message = await refusal(pages, f"http://site.example:{public.port}/")
        assert any(words in message for words in REFUSALS), (to, message)
    assert inside.requests == []


async def test_name_that_leads_inside_is_refused(
    pages: PageReader, inside: Site, names: Names
) -> None:
    for number, address in enumerate(
        ("127.0.0.1", "10.0.0.8", "169.254.169.254", "::1", "fd00::8")
    ):
        names.answers[f"name{number}.example"] = [[address]]
        assert "not on the public web" in await refusal(
            pages, f"http://name{number}.example:{inside.port}/"
        )
    assert inside.requests == []


async def test_one_address_of_several_that_is_inside_is_enough(
    pages: PageReader, public: Site, names: Names
) -> None:
    names.answers["mixed.example"] = [["127.0.0.1", "10.0.0.8"]]
    assert "not on the public web" in await refusal(pages, f"http://mixed.example:{public.port}/")


async def test_second_answer_of_a_name_server_changes_nothing(
    public: Site, inside: Site, names: Names, pages: PageReader
) -> None:
    public.has("/", "<p>What is public")
    # 127.0.0.2 is this machine, too, where the port of `public` isn't public.
    names.answers["two.example"] = [["127.0.0.1"], ["127.0.0.2"]]
    passage, _ = await pages.read(f"http://two.example:{public.port}/")
    assert passage.text == "What is public"
    assert names.asked == ["two.example"]  # once: what was checked is what was connected to


async def test_redirect_to_the_same_name_is_resolved_and_checked_again(
    public: Site, names: Names, pages: PageReader
) -> None:
    public.moves("/", "/inner")
    public.has("/inner", "<p>What is inside")
    names.answers["two.example"] = [["127.0.0.1"], ["127.0.0.2"]]
    assert "not on the public web" in await refusal(pages, f"http://two.example:{public.port}/")
    assert public.paths == ["/"]


async def test_six_redirects_are_too_many(pages: PageReader, public: Site) -> None:
    for number in range(7):
        public.moves(f"/{number}", f"/{number + 1}")
    public.has("/5", "<p>The end")
    site = f"http://site.example:{public.port}"
    assert (await pages.read(f"{site}/0"))[0].url == f"{site}/5"
    public.moves("/5", "/6")
    assert "redirects too often" in await refusal(pages, f"{site}/0")


async def test_requests_carry_nothing_of_the_fleet(pages: PageReader, public: Site) -> None:
    to = f"http://site.example:{public.port}/b"
    public.pages["/"] = Served(status=302, headers={"Location": to, "Set-Cookie": "id=1"})
    public.has("/b", "<p>Here")
    await pages.read(f"http://site.example:{public.port}/")
    for request in public.requests:
        assert {"Cookie", "Referer", "Authorization"}.isdisjoint(request.headers)
        assert request.headers["User-Agent"].startswith("AgenticFleet")
        assert request.headers["Host"] == f"site.example:{public.port}"


@pytest.mark.parametrize(
    "address",
    [
        "93.184.216.34",
        "8.8.8.8",
        "2606:4700::1111",
        "2a00:1450:4001::200e",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ],
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address, 443)


def own_address() -> str:
    """Return the address at which others reach this machine, or its loopback if none do."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def test_public_address_of_this_machine_is_not_public(monkeypatch: pytest.MonkeyPatch) -> None:
    assert guard.is_own("127.0.0.1")
    assert guard.is_own(own_address())
    assert not guard.is_own("8.8.8.8")
    assert is_public("8.8.8.8", 443)
    monkeypatch.setattr(guard, "is_own", lambda address: address == "8.8.8.8")
    assert not is_public("8.8.8.8", 443)
    assert not is_public("::ffff:8.8.8.8", 443)
    assert not is_public("64:ff9b::808:808", 443)


def test_product_has_no_switch_that_makes_this_machine_public() -> None:
    assert not is_public("127.0.0.1", 80)
    assert guard.is_public.__defaults__ is None


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("HTTPS://Example.COM:443/a?b=1#c", "https://example.com/a?b=1"),
        ("http://bücher.example/ä", "http://xn--bcher-kva.example/%C3%A4"),
        ("http://example.com:8080", "http://example.com:8080/"),
        ("http://example.com./a/../b", "http://example.com./b"),
    ],
)
def test_addresses_are_normalised_as_browsers_do(url: str, same: str) -> None:
    assert page_address(url) == same


async def test_slow_name_server_holds_nobody_up(
    public: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "FIRST_BYTE_TIMEOUT", 0.2)
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    def never(host: str, port: int) -> list[str]:
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(20)
        return ["127.0.0.1"]

    pages = reader(public, never)  # type: ignore[arg-type]
    started = loop.time()
    assert "did not answer in time" in await refusal(pages, "http://slow.example/")
    assert loop.time() - started < 3
    gate.set()
    await pages.aclose()
