"""Requests with hostile addresses, headers and forms: no 500, no traceback, no task left."""

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from chat.conversations import Conversation
from chat.database import in_database
from chat.runs.worker import Worker
from chat.shares import Share
from tests.cases import one_in
from tests.pages.conversations import asked as asked_by_model
from tests.pages.conversations import decided_for, owner_of, paused_run_of, run_of

from .addresses import Asked, address_of, listening, routes
from .driving import Headers, Reply, exchange, operators_log
from .inputs import Choice

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.bulk]

PER_SEED = 250  # requests, after one to each address
PROBES = ("/healthz", "/readyz")
CSRF = "c" * 32  # as cookie and as header
NAMES = (
    *("Host", "Cookie", "Accept", "Accept-Language", "Accept-Encoding", "User-Agent", "Referer"),
    *("Origin", "HX-Request", "HX-Current-URL", "HX-Target", "HX-Trigger", "HX-Boosted", "Range"),
    *("HX-Current-URL-URI-AutoEncoded", "HX-Trigger-URI-AutoEncoded", "If-None-Match", "Forwarded"),
    *("If-Modified-Since", "Authorization", "Content-Type", "Content-Length", "X-Forwarded-For"),
    *("X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "X-Request-Id", "traceparent"),
    *("Fleet-Account", "X-CSRFToken", "Expect", "Transfer-Encoding", "Content-Encoding", "Via"),
    *("Sec-Fetch-Site", "Upgrade", "Connection", "X-Requested-With", "Date", "X-Empty"),
)
COOKIES = (
    settings.FLEET_ZONE_COOKIE,
    settings.FLEET_BROWSER_COOKIE,
    settings.LANGUAGE_COOKIE_NAME,
    settings.SESSION_COOKIE_NAME,
    settings.CSRF_COOKIE_NAME,
    "messages",
)
TYPES = (
    b"application/x-www-form-urlencoded",
    b"multipart/form-data; boundary=b",
    b"multipart/form-data",
    b"multipart/form-data; boundary=" + b"b" * 300,
    b"application/json",
    b"text/plain; charset=nonsense",
    b"application/x-www-form-urlencoded; charset=utf-16",
    b"application/x-www-form-urlencoded; charset=\xff",
    b"multipart/form-data; boundary=b; charset=utf-7",
    b"",
)


@dataclass(frozen=True, slots=True)
class Site:
    """The cookies of those who may ask, and the ids of rows that exist."""

    browser: str
    user: str
    superuser: str
    ids: tuple[str, ...]


def site() -> Site:
    """Return a site with a chat of an anonymous browser, of a user and of a superuser."""
    browser, user, superuser = Client(), Client(), Client()
    users = [
        User.objects.create_user(f"u{uuid.uuid4().hex}"),
        User.objects.create_superuser(f"s{uuid.uuid4().hex}"),
    ]
    for client, account in zip((user, superuser), users, strict=True):
        client.force_login(account)
    ids = ["1", "en", "chat", "run", *(str(account.pk) for account in users)]
    for owner in (owner_of(browser), *(f"user:{account.pk}" for account in users)):
        chat = Conversation.objects.create(owner=owner, title="Kafka or RabbitMQ")
        run = run_of(chat)
        paused = paused_run_of(chat, asked_by_model())
        share = Share.objects.show(chat)
        rows = (chat, run, paused, decided_for(run), share)
        ids += [share.token, *(str(row.pk) for row in rows)]
        ids += [str(ask.pk) for ask in paused.asks.all()]
    return Site(*map(cookies_of, (browser, user, superuser)), tuple(ids))


def cookies_of(client: Client) -> str:
    mine = {name: cookie.value for name, cookie in client.cookies.items()}
    return "; ".join(
        f"{name}={value}" for name, value in (mine | {settings.CSRF_COOKIE_NAME: CSRF}).items()
    )


class Requests:
    """Requests at random, for the routes of the URL configuration."""

    def __init__(self, choose: Choice, site: Site, asked: Asked) -> None:
        self.choose, self.site, self.asked = choose, site, asked
        self.routes = routes()

    async def learn(self) -> None:
        """Ask for each address once, so that the names which it reads are known."""
        for route in self.routes:
            self.asked.route = route
            path = address_of(route, self.choose, self.site.ids).encode()
            if not route.endswith("logout/"):
                for method in ("GET", "POST"):
                    await exchange(method, path, b"", self.headers(route, tidy=True))

    async def send(self) -> tuple[str, Reply]:
        choose = self.choose
        route = self.asked.route = choose.choice(self.routes)
        path = address_of(route, choose, self.site.ids).encode()
        method = choose.choice((*("GET", "POST") * 4, "HEAD", "PUT", "OPTIONS", "X" * 9))
        headers = self.headers(route)
        body = b""
        if method in ("POST", "PUT"):
            kind, body = self.body(route)
            headers.append((b"content-type", kind))
            headers.append((b"content-length", str(len(body)).encode()))
        query = self.query(route) if choose.random() < 0.7 else b""
        parts = [body[:7], body[7:]] if len(body) > 7 else [body]
        reply = await exchange(method, path, query, headers, parts)
        return f"{method} {path!r} ?{query!r} {headers} {body[:2000]!r}", reply

    def headers(self, route: str, *, tidy: bool = False) -> Headers:
        choose, site = self.choose, self.site
        cookies = choose.choice((site.browser, site.user, site.superuser, ""))
        if route.startswith("/admin/") and (tidy or choose.random() < 0.8):
            cookies = site.superuser
        if not tidy and choose.random() < 0.2:
            name = choose.choice(COOKIES)
            cookies += f"; {name}=" + quote(choose.text(), safe="%/", errors="replace")
        found: dict[bytes, bytes] = {
            b"host": b"testserver",
            b"x-csrftoken": CSRF.encode(),
            b"cookie": cookies.encode(),
        }
        if tidy:
            return list(found.items())
        if choose.random() < 0.4:
            found[b"hx-request"] = b"true"
        for name in choose.some(NAMES, 2):
            found[name.lower().encode()] = choose.raw()
        return list(found.items())

    def query(self, route: str) -> bytes:
        choose = self.choose
        if choose.random() < 0.02:
            return b"&".join(b"a%d=1" % number for number in range(1100))
        names = choose.some(self.asked.of(route), 4)
        pairs = [f"{quoted(choose, name)}={quoted(choose, choose.text())}" for name in names]
        return "&".join(pairs).encode()[:20_000]

    def body(self, route: str) -> tuple[bytes, bytes]:
        choose = self.choose
        kind = choose.choice((TYPES[0], TYPES[0], TYPES[1], *TYPES))
        if kind.startswith(b"multipart"):
            body = b"".join(
                b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
                % (
                    name.encode(),
                    choose.choice((b"", b'; filename="x"', b"; filename*=utf-8''%ff")),
                    choose.raw(),
                )
                for name in choose.some(self.asked.of(route), 4)
            )
            body += choose.choice((b"--b--\r\n", b"", b"--b", b"--b\r\n\r\n"))
        else:
            body = self.query(route)
        return kind, choose.mangled(body.decode("latin-1")).encode("latin-1", "replace") if (
            choose.random() < 0.3
        ) else body


def quoted(choose: Choice, text: str) -> str:
    """Return the text for a query; sometimes as it is, or cut in a percent escape."""
    if choose.random() < 0.1:
        return text.encode("ascii", "ignore").decode().translate({ord(" "): "+", ord("#"): "%"})
    return quote(text.encode("utf-8", "surrogatepass"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    with listening(monkeypatch) as asked:
        yield asked


FORM = (b"content-type", b"application/x-www-form-urlencoded")
MANY = b"&".join([b"a=1"] * 1100)
PART = b'--b\r\nContent-Disposition: form-data; name="language"\r\n\r\nde\r\n--b--\r\n'
# What the requests below have found.
FOUND: dict[str, tuple[str, str, bytes, Headers, bytes, int]] = {
    "half an address of IPv6": (
        "GET",
        "/chats/",
        b"",
        [(b"hx-current-url", b"http://[::1")],
        b"",
        200,
    ),
    "many fields": ("GET", "/", MANY, [], b"", 400),
    "many fields and a charset": (
        "GET",
        "/",
        MANY,
        [(b"content-type", b"a/b; charset=utf-8")],
        b"",
        400,
    ),
    "many fields of a form": ("POST", "/language/", b"", [FORM], MANY, 400),
    "a form in another charset": (
        *("POST", "/language/", b""),
        *([(FORM[0], FORM[1] + b"; charset=utf-16")], b"language=de", 400),
    ),
    "a multipart form in no charset": (
        *("POST", "/language/", b""),
        *(
            [(FORM[0], b"multipart/form-data; boundary=b; charset=hex")],
            PART,
            400,
        ),
    ),
    "a multipart form without a boundary": (
        *("POST", "/language/", b"", [(FORM[0], b"multipart/form-data")], b"x", 400),
    ),
    "a page that nobody may see": ("GET", "/admin/chat/ask/add/", b"", [], b"", 403),
    "a field that names no row": (
        "GET",
        "/admin/auth/group/1/change/",
        b"_to_field=x",
        [],
        b"",
        400,
    ),
    "a row by an empty field": ("GET", "/admin/chat/run/1/change/", b"_to_field=", [], b"", 302),
    "a row as a new one": (
        "POST",
        "/admin/chat/token/1/change/",
        b"",
        [FORM],
        b"_saveasnew=1",
        403,
    ),
}


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "body", "status"), FOUND.values(), ids=FOUND
)
async def test_request_that_once_failed_is_refused_in_one_line(
    worker: Worker, method: str, path: str, query: bytes, headers: Headers, body: bytes, status: int
) -> None:
    cookies = (await in_database(site)).superuser.encode()
    base = [(b"host", b"testserver"), (b"cookie", cookies), (b"x-csrftoken", CSRF.encode())]
    htmx = [(b"hx-request", b"true")] if headers and headers[0][0].startswith(b"hx") else []
    sized = [(b"content-length", str(len(body)).encode())]
    with operators_log() as log:
        reply = await exchange(
            method, path.encode(), query, [*base, *htmx, *headers, *sized], [body]
        )
    assert reply.status == status
    assert log.getvalue().count("\n") <= 1


@pytest.mark.parametrize("seed", one_in(8, range(40)))
async def test_hostile_requests_get_replies_without_a_traceback(
    worker: Worker, asked: Asked, seed: int
) -> None:
    choose = Choice(seed)
    requests = Requests(choose, await in_database(site), asked)
    before = asyncio.all_tasks()
    with operators_log() as log:
        await requests.learn()
        for _ in range(PER_SEED):
            request, reply = await requests.send()
            is_fine = 100 < reply.status < 500 or request.partition("'")[2].startswith(PROBES)
            assert is_fine, f"{reply.status} {request}\n{log.getvalue()}"
            assert "Traceback" not in log.getvalue(), f"{request}\n{log.getvalue()}"
            assert " ERROR " not in log.getvalue(), f"{request}\n{log.getvalue()}"
            log.seek(0)
            log.truncate()
    assert (await exchange("GET", b"/", b"", [(b"host", b"testserver")])).status == 200
    assert {task for task in asyncio.all_tasks() - before if not task.done()} == set()
