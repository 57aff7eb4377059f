"""What reads texts from elsewhere returns a value, or raises what its callers know."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agenticfleet.environment import Environment
from agenticfleet.proxies import client_of, scheme_of
from chat.access.addresses import counted
from chat.access.tokens import id_in
from chat.languages import language_of
from chat.llm.dialects import calls, written
from chat.llm.dialects.chunks import ChunkReader
from chat.llm.dialects.framing import NotAnAnswer, TooLarge
from chat.llm.faults.complaints import complaint_of
from chat.llm.listing import models_in
from chat.llm.probes import window_in
from chat.prices import Prices
from chat.protocol.errors import ProtocolError
from chat.protocol.requests import parse_command, parse_request
from chat.refusals import refusals_in
from chat.rendering.markdown.blocks import render_all
from chat.sidebar import moment_of, number_of
from chat.trace_context import TraceParent
from chat.views import uuid_of
from chat.workflow.replies import parsed
from chat.workflow.steps import Round, decoded
from chat.workflow.team import Plan
from tooling import searchclient
from tooling.calls import NotMade, checked
from tooling.decoding import UNREADABLE_JSON
from tooling.entries import failure_in, unpacked
from tooling.inspector import entry_of
from tooling.known import TOOLS

from .inputs import DEEP, TEXTS

pytestmark = pytest.mark.bulk

EXAMPLES = 120  # texts for each reader
# The kinds of settings, with their defaults.
SETTINGS: dict[str, tuple[object, ...]] = {
    "flag": (False,),
    "integer": (1,),
    "duration": ("1d",),
    "limit": ("1,2,3",),
    "networks": (),
    "origins": (),
    "site": (),
    "hosts": ("localhost",),
    "database": ("sqlite:///x",),
}


def stream(text: str) -> None:
    reader = ChunkReader()
    reader.feed(b"data: " + text.encode(errors="surrogatepass") + b"\n\n")
    reader.feed(text.encode(errors="surrogatepass"))
    reader.close()


def setting(method: str, text: str, *default: object) -> None:
    getattr(Environment({"FLEET_X": text}), method)("FLEET_X", *default)


def proxied(text: str) -> None:
    raw = text.encode(errors="surrogatepass")
    headers = [(b"x-forwarded-for", raw), (b"x-forwarded-proto", raw)]
    scope = {"type": "http", "client": ("127.0.0.1", 1), "headers": headers}
    client_of(scope)
    scheme_of(scope)


def raw(read: Callable[[bytes], object]) -> Callable[[str], object]:
    return lambda text: read(text.encode(errors="surrogatepass"))


def cached(read: bytes) -> object:
    fields: list[bytes | None] = [read, read[:20], read[:20], read[:20], read[:20]]
    return entry_of(b"fleet:cache:x:y", fields, 1, datetime.now(UTC))


# What reads JSON, and what it may raise.
JSON_READERS: dict[str, tuple[Callable[[str], object], tuple[type[Exception], ...]]] = {
    "a first frame": (parse_request, (ProtocolError,)),
    "a later frame": (parse_command, (ProtocolError,)),
    "a model's stream": (stream, (NotAnAnswer, TooLarge)),
    "a list of models": (raw(models_in), ()),
    "what a model reads": (raw(window_in), ()),
    "an error of a model server": (raw(complaint_of), ()),
    "a call that is written as text": (written.decoded, ()),
    "an argument between tags": (written.value_in, ()),
    "the arguments of a call": (calls.object_in, ()),
    "the arguments of a tool": (partial(checked, TOOLS["web_search"]), (NotMade,)),
    "a plan": (lambda text: parsed(text, Plan), ()),
    "the result of a step": (lambda text: decoded(text, Round), ()),
    "a result in the cache": (raw(unpacked), ()),
    "a failure in the cache": (raw(failure_in), ()),
    "what the cache holds": (raw(cached), ()),
    "a refusal of a model": (raw(lambda body: refusals_in({b"x": body})), ()),
    "a limit of the web search": (raw(partial(searchclient.retry_after, "")), ()),
    "headers in a setting": (partial(setting, "headers"), (ImproperlyConfigured,)),
}
TEXT_READERS: Mapping[str, tuple[Callable[[str], Any], tuple[type[Exception], ...]]] = {
    "a language": (lambda text: language_of(text, cookies={}, accepted=text), ()),
    "a trace": (raw(TraceParent.parse), ()),
    "an address": (counted, ()),
    "what a proxy says": (proxied, ()),
    "a number": (number_of, ()),
    "a time": (moment_of, ()),
    "an id": (uuid_of, ()),
    "a token": (id_in, ()),
    "a time to wait": (lambda text: searchclient.retry_after(text, b""), ()),
    "an answer": (lambda text: render_all(text, "r"), ()),
    **{
        f"{method} in a setting": (
            lambda text, method=method, default=default: setting(method, text, *default),
            (ImproperlyConfigured,),
        )
        for method, default in SETTINGS.items()
    },
}
READERS = {**JSON_READERS, **TEXT_READERS}

texts = st.one_of(
    st.text(st.characters(), max_size=60),
    st.sampled_from(TEXTS),
    st.lists(st.sampled_from(TEXTS), max_size=3).map("".join),
)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
).map(repr)


@pytest.mark.parametrize("name", READERS)
def test_reader_raises_nothing_that_its_callers_do_not_know(name: str) -> None:
    read, known = READERS[name]

    @settings(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None)
    @given(texts | documents)
    @example("\0")
    def reads(text: str) -> None:
        with suppress(known):
            read(text)

    reads()


@pytest.mark.parametrize("depth", [100, 950, 5000, DEEP])
@pytest.mark.parametrize("name", JSON_READERS)
def test_json_that_is_nested_deeply_is_as_unreadable_as_broken_json(name: str, depth: int) -> None:
    read, known = JSON_READERS[name]
    for opening, closing in (("[", "]"), ('{"a":', "}"), ('{"message":[', "]}")):
        for text in (opening * depth, opening * depth + "1" + closing * depth):
            with suppress(known):
                read(text)


def test_price_list_that_is_nested_deeply_is_none(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text('{"models":' * DEEP)
    with pytest.raises(UNREADABLE_JSON):
        Prices.read(path)
