"""Read from a program's replies which model server it is, and what it has. No I/O."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from msgspec.structs import replace

from chat.llm.faults.complaints import complaint_of
from chat.llm.faults.verdicts import Kind as Complaint
from chat.llm.faults.verdicts import kind_of
from chat.llm.listing import MAX_MODELS, ListedModel, decoded, entries_of, listed, models_in
from chat.llm.local_servers import Kind
from chat.llm.offers import can_chat
from chat.llm.ollama import is_in_cloud
from tooling.untrusted import one_line

from .exchange import Place, Reply

# Asked of each program, all at once.
VERSION, TAGS, LOADED = "/api/version", "/api/tags", "/api/ps"  # of Ollama
STATES = "/api/v0/models"  # of LM Studio
LISTING = "/v1/models"  # of all
PATHS = (VERSION, TAGS, LOADED, STATES, LISTING)

# What a model is for if it can't be told by `can_chat`: a base model goes on with a text.
OTHER_USE = re.compile(r"(?<![a-z])(ocr|base|fim|draft|mmproj)(?![a-z])|ocr(?![a-z])")
EMBEDDING_FAMILIES = frozenset({"bert", "nomic-bert", "jina-bert-v2", "xlm-roberta"})
PARAMETERS = re.compile(
    r"(?<![a-z\d.])(?:(\d{1,3})x)?(\d{1,4}(?:\.\d+)?)([bm])(?![a-z\d])", re.IGNORECASE
)
# Bytes of a parameter in the files that people usually have, quantised to four bits.
PARAMETER_BYTES = 0.65
MAX_SIZE = 2**50  # bytes of a file; what is more is an error of its server


BY_OWNER = {"llamacpp": Kind.LLAMA_CPP, "vllm": Kind.VLLM}  # what `owned_by` says
FLEET_OWNER = "agenticfleet"


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model of a server. `id` is what requests call it."""

    id: str
    is_loaded: bool
    parameters: float | None = None  # billions
    size: int | None = None  # bytes of its file, perhaps estimated
    can_chat: bool = True


@dataclass(frozen=True, slots=True)
class Server:
    """A model server that said what it is."""

    place: Place
    kind: Kind
    models: tuple[LocalModel, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} on {self.place}"

    @property
    def base_url(self) -> str:
        return f"http://{self.place}/v1"


@dataclass(frozen=True, slots=True)
class Unusable:
    """A program that isn't used, with the reason."""

    place: Place
    problem: str
    kind: Kind | None = None

    def __str__(self) -> str:
        what = f"{self.kind} on {self.place}" if self.kind else f"a program on {self.place}"
        return f"{what} {self.problem}"


def told(place: Place, replies: Mapping[str, Reply | None]) -> Server | Unusable | None:
    """Return what the replies tell; None if the program is no model server."""
    version, tags = (content_of(replies.get(path)) for path in (VERSION, TAGS))
    if isinstance(version, dict) and isinstance(version.get("version"), str):
        entries = entries_of(tags)
        if entries is not None:
            loaded = entries_of(content_of(replies.get(LOADED))) or []
            return Server(place, Kind.OLLAMA, ollama_models(entries, loaded))
    states = entries_of(content_of(replies.get(STATES))) or []
    if any(isinstance(entry, dict) and "state" in entry for entry in states):
        return Server(place, Kind.LM_STUDIO, tuple(filter(None, map(described, states))))
    return by_listing(place, replies.get(LISTING))


def by_listing(place: Place, reply: Reply | None) -> Server | Unusable | None:
    """Return what the listing tells that all servers have."""
    if reply is None:
        return None
    if reply.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Unusable(place, "wants a key")
    if reply.status >= HTTPStatus.BAD_REQUEST:
        said = complaint_of(reply.body, status=reply.status)
        # Only llama.cpp answers while it loads its model.
        is_loading = kind_of(said) is Complaint.LOADING
        return Unusable(place, "is still loading its model", Kind.LLAMA_CPP) if is_loading else None
    if reply.status != HTTPStatus.OK or not (models := models_in(reply.body)):
        return None
    owner = models[0].owner
    if owner == FLEET_OWNER:
        return Unusable(place, "is another AgenticFleet")
    if kind := BY_OWNER.get(owner):
        entries = entries_of(decoded(reply.body)) or []
        return Server(place, kind, tuple(filter(None, map(described, entries[:MAX_MODELS]))))
    return Unusable(place, "lists models, but doesn't say what it is")


def described(entry: object) -> LocalModel | None:
    """Return the model of an entry of LM Studio, llama.cpp or vLLM."""
    model = listed(entry)
    if model is None or not isinstance(entry, dict):
        return None
    # llama.cpp's `status` is an object, and only there if it has several models.
    status = entry.get("status")
    state = status.get("value") if isinstance(status, dict) else entry.get("state", "loaded")
    # A file without another name is listed with its path. Its server answers to any name.
    called = model.name if model.owner == "llamacpp" and model.name else model.id
    parameters = parameters_in(called)
    return LocalModel(
        called,
        is_loaded=state in ("loaded", "sleeping"),
        parameters=parameters,
        size=estimated_size(parameters),
        can_chat=is_for_chat(replace(model, id=called)),
    )


def ollama_models(tags: Sequence[object], loaded: Sequence[object]) -> tuple[LocalModel, ...]:
    """Return what Ollama has on this machine. It lists what it asks ollama.com for, too."""
    in_memory = {model.id for model in map(listed, loaded) if model}
    found: list[LocalModel] = []
    for entry in tags[:MAX_MODELS]:
        model = listed(entry)
        if model is None or not isinstance(entry, dict) or is_elsewhere(model.id, entry):
            continue
        details = entry.get("details")
        details = details if isinstance(details, dict) else {}
        size = entry.get("size")
        parameters = parameters_in(str(details.get("parameter_size") or "")) or parameters_in(
            model.id
        )
        found.append(
            LocalModel(
                model.id,
                is_loaded=model.id in in_memory,
                parameters=parameters,
                size=size
                if type(size) is int and 0 < size <= MAX_SIZE
                else estimated_size(parameters),
                can_chat=is_for_chat(model)
                and one_line(str(details.get("family"))) not in EMBEDDING_FAMILIES,
            )
        )
    return tuple(found)


def is_elsewhere(name: str, entry: Mapping[str, Any]) -> bool:
    return bool(is_in_cloud(name) or entry.get("remote_host") or entry.get("remote_model"))


def is_for_chat(model: ListedModel) -> bool:
    """Return True if the model answers questions.

    llama.cpp says "completion" of every model, so its name must be suitable, too.
    """
    is_named_so = can_chat(replace(model, chats=None)) and not OTHER_USE.search(model.id.lower())
    return model.chats is not False and is_named_so


def parameters_in(text: str) -> float | None:
    """Return the billions of parameters that a text such as "4.0B" or "qwen3-270m" names."""
    found = PARAMETERS.search(text)
    if found is None:
        return None
    experts, number, unit = found.groups()
    return int(experts or 1) * float(number) / (1000 if unit in "mM" else 1)


def estimated_size(parameters: float | None) -> int | None:
    return int(parameters * PARAMETER_BYTES * 1e9) if parameters else None


def content_of(reply: Reply | None) -> object:
    return decoded(reply.body) if reply and reply.status == HTTPStatus.OK else None
