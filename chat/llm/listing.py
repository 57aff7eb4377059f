"""What a model server lists, read from the many shapes that servers give it. No I/O."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

import msgspec
from msgspec import Struct

from tooling.decoding import UNREADABLE_JSON
from tooling.untrusted import one_line, without_nul

MAX_MODELS = 500
MAX_ID = 200  # characters
MAX_DEPTH = 3  # of the parts of an entry that are looked into
MAX_TOKENS = 10**9  # servers write larger numbers for "no limit"
# Where lists of models and their names are, in the order of preference.
LISTS = ("data", "models", "result", "results", "items", "model_list")
IDS = ("id", "model", "model_name", "name", "key", "slug")
NAMES = ("display_name", "displayName", "name", "title")
OWNERS = ("owned_by", "owner", "organization", "publisher")
# Names of what a model reads and writes in one call, in lower case and without separators. The
# context that it was trained with (n_ctx_train) is not among them: its server may read less.
WINDOW = re.compile(
    r"(max|loaded)?context(length|size|tokens|window|windowtokens)|(n|num)ctx"
    r"|max(input|prompt|total)(length|tokens)|inputtokenlimit|max(model|seq|sequence)len(gth)?"
)
OUTPUT = re.compile(r"max(completion|output)tokens|outputtokenlimit")
# Names of what a model is for.
KINDS = ("type", "mode", "task", "model_type", "kind")
CHAT = re.compile(r"chat(completions?)?|(text)?completions?|text(generation)?|llm|vlm|language")
NO_CHAT = re.compile(
    r"(text)?embeddings?|rerank(er|ing)?|moderations?|classification|ocr|asr|stt|tts|transcription"
    r"|(image|video|audio|speech)(generation|speech|transcription)?"
)
# A server that was started with a file lists its path, if the model has no other name.
PATH = re.compile(r"(?:/|~|\.{1,2}[/\\]|[a-z]:[/\\]).*?([^/\\]+?)(?:\.gguf)?[/\\]*", re.IGNORECASE)
SEPARATORS = re.compile(r"[^a-z]")


class ListedModel(Struct, frozen=True, kw_only=True):
    """A model as its server lists it. `name` is for people; empty if the server gives none."""

    id: str
    name: str = ""
    owner: str = ""
    aliases: tuple[str, ...] = ()
    context_tokens: int | None = None  # what it reads and writes in one call
    possible_tokens: int | None = None  # what it could, if its server were set up for it
    output_tokens: int | None = None  # what it may write, if the server limits that
    # The server drops the beginning of what is longer, without an error.
    cuts_silently: bool = False
    # True or False if the server says whether it chats; None if the server doesn't say.
    chats: bool | None = None

    def is_called(self, wanted: str) -> bool:
        """Return True if a request may use `wanted` as the name of this model."""
        bare = wanted.removeprefix("models/")
        names = {self.id, *self.aliases}
        return not names.isdisjoint((wanted, bare, f"{wanted}:latest", f"models/{wanted}"))


class Listing(Struct, frozen=True):
    """What a server answered when it was asked for its models.

    `problem` says why the server can't be used. A server without a list of its models has none.
    """

    base_url: str
    models: tuple[ListedModel, ...] = ()
    problem: str = ""
    context_tokens: int | None = None  # what the server reads, whichever model is asked

    # What this process found out last. Views read it without an event loop.
    latest: ClassVar["Listing"]

    def find(self, wanted: str) -> ListedModel | None:
        """Return the model of this name as it is listed."""
        exact = (model for model in self.models if wanted in (model.id, *model.aliases))
        return next(exact, None) or next(
            (model for model in self.models if model.is_called(wanted)), None
        )

    def read_by(self, wanted: str) -> int | None:
        """Return how many tokens this model reads and writes in one call; None if nothing tells."""
        model = self.find(wanted)
        told = (model.context_tokens if model else None, self.context_tokens)
        return min(filter(None, told), default=None)

    @property
    def takes_any_name(self) -> bool:
        """True if the server has one model, which answers whatever name a request has."""
        return len(self.models) == 1 and self.models[0].owner == "llamacpp"


Listing.latest = Listing("")


def decoded(body: bytes) -> object:
    """Return the JSON of a body; None if it is none, or too deep to be read."""
    try:
        text = without_nul(body.removeprefix(b"\xef\xbb\xbf")).decode(errors="replace")
        return msgspec.json.decode(text)
    except UNREADABLE_JSON:
        return None


def models_in(body: bytes) -> tuple[ListedModel, ...] | None:
    """Return the models of a listing; None if `body` isn't one."""
    try:
        entries = entries_of(decoded(body))
    except RecursionError:
        return None
    if entries is None:
        return None
    found: dict[str, ListedModel] = {}
    for entry in entries[:MAX_MODELS]:
        if model := listed(entry):
            known = found.get(model.id)
            found[model.id] = merged(known, model) if known else model
    return tuple(found.values())


def entries_of(content: object) -> Sequence[object] | None:
    """Return the entries of a listing, however they are wrapped."""
    if isinstance(content, list):
        return content
    if not isinstance(content, dict):
        return None
    for name in LISTS:
        inner = content.get(name)
        if isinstance(inner, list):
            return inner
        if isinstance(inner, dict):
            nested = entries_of(inner)
            return nested if nested is not None else by_name(inner) or None
    # Go writes an empty list as null.
    is_empty = content.get("object") == "list" or any(
        name in content and content[name] is None for name in ("data", "models")
    )
    return [] if is_empty and not content.get("error") else None


def by_name(entries: Mapping[str, Any]) -> list[object]:
    """Return the entries of a listing whose keys are the names of its models."""
    return [{"id": name, **each} for name, each in entries.items() if isinstance(each, dict)]


def listed(entry: object) -> ListedModel | None:
    """Return the model that an entry describes; None if it has no name that can be used."""
    if isinstance(entry, str):
        entry = {"id": entry}
    if not isinstance(entry, dict):
        return None
    names = [name for name in (text_of(entry.get(field)) for field in IDS) if name]
    if len(names) > 1 and is_uuid(names[0]):
        del names[0]
    if not names or len(names[0]) > MAX_ID:
        return None
    name = next((text for field in NAMES if (text := text_of(entry.get(field)))), "")
    if (path := PATH.fullmatch(names[0])) and name in ("", names[0]):
        name = path[1]
    aliases = entry.get("aliases")
    windows = tuple(numbers_in(entry, WINDOW))
    # LM Studio loads a model with less than it could read, unless it is told otherwise.
    is_loaded = entry.get("state") != "not-loaded"
    return ListedModel(
        id=names[0],
        name=name[:MAX_ID] if name != names[0] else "",
        owner=next((text for field in OWNERS if (text := text_of(entry.get(field)))), "")[:MAX_ID],
        aliases=tuple(filter(None, map(text_of, aliases))) if isinstance(aliases, list) else (),
        context_tokens=min(windows, default=None) if is_loaded else None,
        possible_tokens=max(windows, default=None),
        output_tokens=min(numbers_in(entry, OUTPUT), default=None),
        chats=chats(entry),
    )


def merged(known: ListedModel, told: ListedModel) -> ListedModel:
    """Return `known` with what `told` adds. Of two windows the smaller one counts."""
    windows = [each.context_tokens for each in (known, told) if each.context_tokens]
    return msgspec.structs.replace(
        known,
        context_tokens=min(windows, default=None),
        possible_tokens=known.possible_tokens or told.possible_tokens,
        output_tokens=known.output_tokens or told.output_tokens,
        cuts_silently=known.cuts_silently or told.cuts_silently,
        chats=known.chats if told.chats is None else told.chats,
    )


def numbers_in(part: object, names: re.Pattern[str], depth: int = 0) -> Iterator[int]:
    """Yield the numbers of tokens that a part of a listing has under any of these names."""
    if depth > MAX_DEPTH:
        return
    if isinstance(part, list):
        for each in part:
            if isinstance(each, dict) and "value" in each:  # Cloudflare's properties
                named = {str(each.get("property_id")): each["value"]}
                yield from numbers_in(named, names, depth + 1)
    elif isinstance(part, dict):
        for name, value in part.items():
            if isinstance(value, dict | list):
                yield from numbers_in(value, names, depth + 1)
            elif names.fullmatch(plain(name)) and (tokens := tokens_of(value)):
                yield tokens


def tokens_of(value: object) -> int | None:
    """Return a number of tokens, also from a string; None if it is none, or means no limit."""
    if isinstance(value, str):
        try:
            value = float(value.replace(",", "").replace("_", ""))
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 1 <= value <= MAX_TOKENS else None  # no comparison holds for a NaN


def chats(entry: Mapping[str, Any]) -> bool | None:
    """Return what the entry says of the model's use; None if it says nothing."""
    info = entry.get("model_info")
    for part in (entry, info if isinstance(info, dict) else {}):
        for kind in (plain(text_of(part.get(field))) for field in KINDS):
            if CHAT.fullmatch(kind) or NO_CHAT.fullmatch(kind):
                return bool(CHAT.fullmatch(kind))
    match entry.get("capabilities"):
        case {"completion_chat": bool(can)} | {"chat_completion": bool(can)}:
            return can
        case list(can) if "completion" in can or "embedding" in can:
            return "completion" in can
    match entry:
        case {"supportedGenerationMethods": list(methods)}:
            return "generateContent" in methods
        case {"architecture": {"output_modalities": list(writes)}}:
            return "text" in writes
    return None


def plain(name: str) -> str:
    """Return a name in lower case, without what separates its words."""
    return SEPARATORS.sub("", name.lower())


def text_of(value: object) -> str:
    """Return a text as one line without invisible characters; empty if it is no text."""
    return one_line(value) if isinstance(value, str) else ""


def is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
