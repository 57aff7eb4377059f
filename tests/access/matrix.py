"""One person tries every address, with what is somebody else's and with what doesn't exist."""

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from asgiref.sync import async_to_sync
from django.apps import apps
from django.db import transaction
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.test import Client
from redis import Redis

from chat.access.signins import Session
from chat.config.texts import ConfigText
from tests.pages.conversations import HTMX
from tooling.bounded import PROBE_KEY

from .addresses import Address
from .belongings import Things, store_in_redis, unknown_like
from .people import OWNERS, Visit
from .table import VALUES, Answer, Row, names_of, rows

METHODS: tuple[str, ...] = ("GET", "POST", "HEAD", "OPTIONS")
STATUSES = {
    403: Answer.REFUSED,
    404: Answer.UNKNOWN,
    405: Answer.NO_SUCH_METHOD,
    422: Answer.DONE,  # let in, with a form that doesn't fit
}
# What forms of the pages send. Each view takes what it knows.
FORM = {
    "title": "another",
    "pinned": "1",
    "rating": "up",
    "text": "another",
    "language": "de",
    "next": "/",
    "post": "yes",
    "action": "delete_selected",
    "preference": "quality",
    "message": "another",
}
NOT_IN_THE_ADMIN = frozenset({"link", "shared", "instructions", "sign-in"})
# A token against forged requests looks different in each response.
MASKED = re.compile(rb"\b[A-Za-z0-9]{64}\b")
OF_THE_MOMENT = frozenset({"Set-Cookie", "Content-Length", "Expires"})
MIN_ID = 6  # characters of an id that a page doesn't hold by chance


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    form: dict[str, str] | None
    headers: dict[str, str]

    def send_by(self, client: Client) -> HttpResponseBase:
        send = getattr(client, self.method.lower())
        given = {"data": self.form} if self.form else {}
        response: HttpResponseBase = send(
            self.path, query_params=self.query, headers=self.headers, **given
        )
        return response


@dataclass(frozen=True, slots=True)
class Response:
    answer: Answer | str
    body: bytes
    headers: Mapping[str, str]

    def holds(self, word: str) -> bool:
        return word.encode() in self.body or any(word in text for text in self.headers.values())

    def without(self, *repeated: str) -> str:
        """Return all of it, without what it may repeat of its request."""
        kept = {name: text for name, text in self.headers.items() if name not in OF_THE_MOMENT}
        text = f"{self.answer} {kept} {MASKED.sub(b'', self.body).decode()}"
        for each in repeated:
            text = text.replace(each, "") if len(each) >= MIN_ID else text
        return text


@dataclass(slots=True)
class Matrix:
    visit: Visit
    auth: str  # FLEET_AUTH
    things: Things  # that are asked for
    others: list[Things]  # that the person must not see either
    own: Mapping[str, str]  # ids of what the person has
    redis: Redis
    seen: set[str] = field(default_factory=set)  # kinds of words of `things`

    def faults(self) -> Iterator[str]:
        """Try everything. Yield a sentence for each answer that isn't as the table says."""
        before = self.state()
        for address, row in rows():
            for method, is_htmx in ways_to(address, self.auth):
                for fault in self.faults_at(address, row, method, is_htmx=is_htmx):
                    way = f"{method} by htmx" if is_htmx else method
                    yield f"{address}: {way} of {self.visit.person} {fault}"
        after = self.state()
        for name in sorted({*before, *after}):
            if before.get(name) != after.get(name):
                yield f"{name} has changed from {before.get(name)} to {after.get(name)}"

    def faults_at(self, address: Address, row: Row, method: str, *, is_htmx: bool) -> Iterator[str]:
        right = self.right_answers(row, method)
        is_let_in = Answer.DONE in right
        for ids, foreign in self.mixtures(address, row):
            request = request_for(address, row, method, ids, is_htmx=is_htmx)
            response = self.response_to(request, is_let_in=is_let_in)
            if response.answer not in right:
                yield f"is answered “{response.answer}”, not “{' or '.join(sorted(right))}”"
            for kind in self.leaks_in(response, request, row):
                yield f"shows a {kind}"
            if not foreign or method not in ("GET", "POST") or self.may_learn_what_exists(row):
                continue
            unknown = {**ids, **{name: unknown_like(ids[name]) for name in foreign}}
            other = request_for(address, row, method, unknown, is_htmx=is_htmx)
            shown = response.without(request.path, *ids.values())
            none = self.response_to(other, is_let_in=is_let_in)
            if shown != none.without(other.path, *unknown.values()):
                yield "is answered otherwise if there is no such thing"

    def mixtures(
        self, address: Address, row: Row
    ) -> Iterator[tuple[dict[str, str], frozenset[str]]]:
        """Yield ids for a request, with the names of those that aren't the person's.

        An address with several ids is also asked for with all but one of them the person's own.
        """
        asked = {*names_of(address, row).values(), *row.query.values(), *row.form.values()}
        if address.model in self.things.ids:
            asked.add(address.model)  # for the form of a list
        ids = {name: self.things.ids[name] for name in asked}
        yield ids, frozenset(asked)
        if len(asked) > 1 and asked <= self.own.keys():
            for name in asked:
                yield {**self.own, name: ids[name]}, frozenset({name})

    def right_answers(self, row: Row, method: str) -> set[Answer]:
        get, post = (rule(self.visit.person, self.auth) for rule in (row.get, row.post))
        match method:
            case "GET" | "HEAD":
                return {get}
            case "POST":
                return {post}
            case _:
                return {get, post, Answer.NO_SUCH_METHOD, Answer.DONE}

    def may_learn_what_exists(self, row: Row) -> bool:
        answers = (rule(self.visit.person, self.auth) for rule in (row.get, row.post))
        return self.visit.person in OWNERS or (row.tells_what_exists and Answer.DONE in answers)

    def leaks_in(self, response: Response, request: Request, row: Row) -> Iterator[str]:
        """Yield the kinds of words that a response must not hold. Note what it may hold."""
        is_theirs = self.visit.person in OWNERS
        may_see = row.shows if response.answer is Answer.DONE else frozenset()
        is_read_in_admin = self.visit.person == "superuser" and request.path.startswith("/admin/")
        for things in (self.things, *self.others):
            for kind, word in things.words.items():
                if not response.holds(word) or word in request.path:
                    continue
                if things is self.things:
                    self.seen.add(kind)
                if (
                    not (is_theirs and things is self.things)
                    and not (is_read_in_admin and kind not in NOT_IN_THE_ADMIN)
                    and kind not in may_see
                ):
                    yield f"{kind} ({word})"
            if any(map(response.holds, things.secrets)):
                yield "secret"

    def response_to(self, request: Request, *, is_let_in: bool) -> Response:
        """Send a request. If the person is let in, what it does is undone."""
        client = self.visit.client
        kept = deepcopy(client.cookies)
        with transaction.atomic() if is_let_in else nullcontext():
            response = request.send_by(client)
            found = Response(answer_of(response), body_of(response), dict(response.headers))
            if is_let_in:
                transaction.set_rollback(True)
        client.cookies = kept
        if is_let_in and request.method == "POST":
            store_in_redis(self.redis)
        return found

    def state(self) -> dict[str, Any]:
        """Return all that is stored, by what it is."""
        rows: dict[str, Any] = {
            f"{row._meta.label} {row.pk}": {**row.__dict__, "_state": None}
            for model in apps.get_models()
            # Visits renew sessions, and workers store what is in force, whenever they begin.
            if model._meta.managed and model not in (Session, ConfigText)
            for row in model._default_manager.all()
        }
        kept = set(self.redis.keys("fleet:*")) - {PROBE_KEY.encode()}
        return rows | {f"{key} in Redis": True for key in kept}


def ways_to(address: Address, auth: str) -> list[tuple[str, bool]]:
    """Return the methods to try, and if htmx sends the request.

    HEAD, OPTIONS and the admin depend little on FLEET_AUTH, and take long, so most of them is tried
    once. The admin doesn't use htmx.
    """
    methods = METHODS[:1] if address.is_admin else METHODS[:2]
    if auth == "anonymous":
        methods = METHODS
    by_htmx = [] if address.is_admin else [("GET", True), ("POST", True)]
    return [*((method, False) for method in methods), *by_htmx]


def request_for(
    address: Address, row: Row, method: str, ids: Mapping[str, str], *, is_htmx: bool
) -> Request:
    named = {name: ids[thing] for name, thing in names_of(address, row).items()}
    path = address.filled({**VALUES, **named})
    query = {**row.constants, **{name: ids[thing] for name, thing in row.query.items()}}
    given = {name: ids[thing] for name, thing in row.form.items()}
    form = {**FORM, "_selected_action": ids.get(address.model, ""), **given}
    page = f"http://testserver/c/{ids['chat']}/" if "chat" in ids else "http://testserver/"
    headers = {**HTMX, "HX-Current-URL": page} if is_htmx else {}
    return Request(method, path, query, form if method == "POST" else None, headers)


def answer_of(response: HttpResponseBase) -> Answer | str:
    place = response.headers.get("HX-Redirect") or response.headers.get("Location", "")
    if place.startswith("/login/?"):
        return Answer.SIGN_IN
    if place.startswith("/admin/login/?"):
        return Answer.SIGN_IN_AS_STAFF
    status = response.status_code
    return Answer.DONE if status < 400 else STATUSES.get(status, str(status))


def body_of(response: HttpResponseBase) -> bytes:
    """Return the whole body; of a zip file, what is in it."""
    body = content_of(response)
    if response.headers.get("Content-Type") != "application/zip" or not body:
        return body
    with zipfile.ZipFile(io.BytesIO(body)) as file:
        return b"".join(file.read(name) for name in file.namelist())


def content_of(response: HttpResponseBase) -> bytes:
    if not isinstance(response, StreamingHttpResponse):
        return response.content

    async def joined() -> bytes:
        return b"".join([part async for part in response.streaming_content])

    return async_to_sync(joined)() if response.is_async else b"".join(response.streaming_content)
