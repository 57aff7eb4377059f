"""What servers send: sizes, times, packings and statuses, and what a reader is told of them."""

import asyncio
import ssl
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trustme
from aiohttp import web

from tooling.pages import fetching
from tooling.pages.reader import PageReader
from tooling.results import ToolFailure

from .web import MB, Names, Served, Site, packed, reader

pytestmark = pytest.mark.bulk

PARAGRAPH = b"<p>Word after word after word, as long as anybody wants to read it.</p>\n"


async def told(pages: PageReader, url: str) -> str:
    """Return what a reader gets: the text, or why there is none."""
    try:
        passage, is_cut = await pages.read(url)
    except ToolFailure as exc:
        return exc.message
    return passage.text + (" (cut)" if is_cut else "")


@pytest.fixture
def site(public: Site) -> str:
    return f"http://site.example:{public.port}"


async def test_200_mb_are_read_to_2_and_no_further(
    pages: PageReader, public: Site, site: str
) -> None:
    async def play(request: web.Request) -> web.StreamResponse:
        return await public.stream(request, [PARAGRAPH * 14_000], times=200)

    public.pages["/"] = Served(play=play)
    text = await told(pages, f"{site}/")
    assert text.startswith("Word after word")
    assert text.endswith("(cut)")
    assert len(text) <= 121_000
    assert public.sent < 20 * MB


@pytest.mark.parametrize("kind", ["text/html", "text/plain"])
async def test_text_that_is_too_long_is_said_to_be_cut(
    pages: PageReader, public: Site, site: str, kind: str
) -> None:
    public.has("/", PARAGRAPH * 1000, kind)
    assert not (await told(pages, f"{site}/")).endswith("(cut)")
    public.has("/", PARAGRAPH * 2000, kind)
    text = await told(pages, f"{site}/")
    assert text.endswith("(cut)")
    assert 119_000 < len(text) <= 120_010


async def test_endless_page_that_drips_is_read_as_far_as_it_came(
    pages: PageReader, public: Site, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "FETCH_TIMEOUT", 0.6)

    async def play(request: web.Request) -> web.StreamResponse:
        return await public.stream(request, [PARAGRAPH], times=10_000, pause=0.02)

    public.pages["/"] = Served(play=play)
    started = time.monotonic()
    text = await told(pages, f"{site}/")
    assert text.startswith("Word after word")
    assert text.endswith("(cut)")
    assert time.monotonic() - started < 3


async def test_server_that_says_nothing_is_left(
    pages: PageReader, public: Site, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "FIRST_BYTE_TIMEOUT", 0.2)

    async def play(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    public.pages["/"] = Served(play=play)
    started = time.monotonic()
    assert "did not answer in time" in await told(pages, f"{site}/")
    assert time.monotonic() - started < 3


async def test_head_alone_in_time_is_no_page(
    pages: PageReader, public: Site, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "FETCH_TIMEOUT", 0.4)

    async def play(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/html"})
        await response.prepare(request)
        await asyncio.Event().wait()
        return response

    public.pages["/"] = Served(play=play)
    assert "did not answer in time" in await told(pages, f"{site}/")


async def test_bomb_is_unpacked_to_2_mb_alone(pages: PageReader, public: Site, site: str) -> None:
    bomb = packed(PARAGRAPH * 1000, times=300)  # 21 MB, and as much again for each of 40 members
    public.has("/", bomb * 40, headers={"Content-Encoding": "gzip"})
    text = await told(pages, f"{site}/")
    assert text.startswith("Word after word")
    assert text.endswith("(cut)")


def test_no_chunk_is_unpacked_beyond_its_room() -> None:
    bomb = packed(PARAGRAPH * 1000, times=100)  # 7 MB in 7 kB
    for encoding, packing in (("gzip", bomb), ("deflate", zlib.compress(bytes(7 * MB)))):
        assert len(fetching.unpacker(encoding, "site.example")(packing, 1000)) == 1000


async def test_packed_pages_are_unpacked(pages: PageReader, public: Site, site: str) -> None:
    bare = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bodies = {
        "gzip": packed(PARAGRAPH, times=1),
        "x-gzip": packed(PARAGRAPH, times=1),
        "deflate": zlib.compress(PARAGRAPH),
        "Deflate": bare.compress(PARAGRAPH) + bare.flush(),
        "identity": PARAGRAPH,
    }
    for encoding, body in bodies.items():
        public.has("/", body, headers={"Content-Encoding": encoding})
        assert (await told(pages, f"{site}/")).startswith("Word after word"), encoding


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_what_stands_behind_a_packed_page_is_not_waited_for(
    pages: PageReader, public: Site, site: str, encoding: str
) -> None:
    page = packed(PARAGRAPH, times=1) if encoding == "gzip" else zlib.compress(PARAGRAPH)

    async def play(request: web.Request) -> web.StreamResponse:
        return await public.stream(
            request, [page, b"z" * MB], times=200, **{"Content-Encoding": encoding}
        )

    public.pages["/"] = Served(play=play)
    text = await told(pages, f"{site}/")
    assert text.startswith("Word after word")
    assert not text.endswith("(cut)")
    assert public.sent < 20 * MB


@pytest.mark.parametrize("encoding", ["br", "zstd", "nonsense"])
async def test_other_packings_are_said_to_be_unreadable(
    pages: PageReader, public: Site, site: str, encoding: str
) -> None:
    public.has("/", PARAGRAPH, headers={"Content-Encoding": encoding})
    assert "cannot be read" in await told(pages, f"{site}/")


async def test_broken_packing_is_said_to_be_unreadable(
    pages: PageReader, public: Site, site: str
) -> None:
    public.has("/", b"not packed at all", headers={"Content-Encoding": "gzip"})
    assert "cannot be read" in await told(pages, f"{site}/")


@pytest.mark.parametrize(
    ("status", "words", "temporary"),
    [
        (204, "has no page there (status 204)", False),
        (304, "has no page there (status 304)", False),
        (400, "has no page there (status 400)", False),
        (401, "only to people who sign in", False),
        (403, "does not let programs read", False),
        (404, "has no such page", False),
        (410, "has no such page", False),
        (429, "too many requests", True),
        (451, "does not let programs read", False),
        (500, "has a problem (status 500)", True),
        (503, "has a problem (status 503)", True),
    ],
)
async def test_statuses_are_said_in_words(
    pages: PageReader, public: Site, site: str, status: int, words: str, temporary: bool
) -> None:
    public.has("/", "<p>Something</p>", status=status)
    with pytest.raises(ToolFailure) as failure:
        await pages.read(f"{site}/")
    assert words in failure.value.message
    assert "site.example" in failure.value.message
    assert failure.value.temporary is temporary


async def test_pages_to_sign_in_at_are_said_to_be_that(
    pages: PageReader, public: Site, site: str
) -> None:
    public.moves("/report", "/login?next=/report")
    public.has("/login", "<h1>Welcome</h1><p>Please enter your name.</p>")
    assert "only to people who sign in" in await told(pages, f"{site}/report")
    public.has("/hidden", '<h1>Members</h1><form><input type="password"></form>')
    assert "only to people who sign in" in await told(pages, f"{site}/hidden")
    # A person may ask about the page itself, or about one on signing in.
    assert "enter your name" in await told(pages, f"{site}/login")
    public.moves("/docs/oauth2", "/docs/oauth2/", status=301)
    public.has("/docs/oauth2/", "<h1>OAuth 2</h1><p>It is explained here.")
    assert "explained here" in await told(pages, f"{site}/docs/oauth2")


async def test_page_without_a_word_is_said_to_be_empty(
    pages: PageReader, public: Site, site: str
) -> None:
    for kind in ("text/plain", None):
        public.has("/", " \n\u200b", kind)
        assert "is empty" in await told(pages, f"{site}/")


async def test_page_that_leads_on_by_itself_is_followed_like_a_redirect(
    pages: PageReader, public: Site, inside: Site, site: str
) -> None:
    def leads(to: str) -> str:
        return f'<meta http-equiv=refresh content="0; url={to}"><p>Moved.'

    public.has("/", leads("de/"))
    public.has("/de/", "<h1>Hafen</h1><p>Es gibt Fisch.")
    passage, _ = await pages.read(f"{site}/")
    assert (passage.url, passage.title) == (f"{site}/de/", "Hafen")
    public.has("/de/", leads("/"))
    assert "redirects too often" in await told(pages, f"{site}/")
    public.has("/", leads(f"{site}/#now"))
    assert "Moved." in await told(pages, f"{site}/")
    public.has("/", leads(f"http://127.0.0.1:{inside.port}/"))
    assert "not on the public web" in await told(pages, f"{site}/")
    assert inside.requests == []


async def test_what_speaks_no_http_is_said_to_be_unreadable(names: Names, public: Site) -> None:
    async def talk(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stream.read(10)
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pages = reader(public, names, is_public=lambda address, at: at == port)
    assert "cannot be read" in await told(pages, f"http://site.example:{port}/")
    await pages.aclose()
    server.close()
    await server.wait_closed()


async def test_closed_port_and_unknown_name_are_said(pages: PageReader, names: Names) -> None:
    assert "There is no site named none.example" in await told(pages, "http://none.example/")
    pages_of_port_1 = reader_for_any(names)
    assert "cannot be reached" in await told(pages_of_port_1, "http://site.example:65534/")
    await pages_of_port_1.aclose()


def reader_for_any(names: Names) -> PageReader:
    return PageReader(
        fetching.Fetcher(proxies={}, is_public=lambda address, port: True, look_up=names)
    )


# --- TLS and proxies ------------------------------------------------------------------------------


@asynccontextmanager
async def tcp(talk: object, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)  # type: ignore[arg-type]
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def test_certificate_is_that_of_the_name_and_not_of_the_address(
    public: Site, names: Names
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("site.example").configure_cert(context)
    asked: list[str] = []
    context.sni_callback = lambda socket, name, _: asked.append(name)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)

    async def talk(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stream.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n<p>Safe")
        writer.close()

    names.answers["other.example"] = [["127.0.0.1"]]
    async with tcp(talk, tls=context) as port:
        pages = reader(public, names, is_public=lambda _, at: at == port, trusted=trusted)
        assert await told(pages, f"https://site.example:{port}/") == "<p>Safe"
        assert "certificate of other.example" in await told(pages, f"https://other.example:{port}/")
        assert asked == ["site.example", "other.example"]
        await pages.aclose()


async def test_through_a_proxy_names_that_lead_inside_are_refused_here(
    inside: Site, names: Names
) -> None:
    heads: list[str] = []

    async def talk(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await stream.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>By the proxy")
        writer.close()

    names.answers |= {"in.example": [["10.0.0.8"]], "out.example": [["93.184.216.34"]]}
    async with tcp(talk) as port:
        pages = PageReader(
            fetching.Fetcher(proxies={"http": f"http://127.0.0.1:{port}"}, look_up=names)
        )
        for url in (
            "http://in.example/",
            "http://10.0.0.8/",
            "http://127.0.0.1/",
            "http://a.internal/",
        ):
            assert "not on the public web" in await told(pages, url)
        assert heads == []
        assert "By the proxy" in await told(pages, "http://out.example/")
        # A name that only the proxy knows.
        assert "By the proxy" in await told(pages, "http://known-there.example/")
        assert [head.split()[1] for head in heads] == [
            "http://out.example/",
            "http://known-there.example/",
        ]
        await pages.aclose()
