"""Which part of a request a server's words refuse, and what to send in its place.

The words of servers decide, because few of them name the part in a field of its own. They count
only if the request has the part, and if they read as a refusal of it. A request that is too long,
an unknown model or a wrong key isn't a refused part, whatever else the words name.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from chat.llm.faults.complaints import Complaint
from chat.llm.faults.verdicts import Kind, kind_of

from .changes import (
    EFFORTS,
    EMPTY,
    INSTRUCTING,
    LIMITS,
    WHOLE,
    WHOLE_BESIDE_TOOLS,
    Change,
    Request,
    has_calls,
)

MIN_ROOM = 256  # Tokens. With less room for the answer, the request is too long.
MIN_LIMIT = 64  # Tokens. Smaller numbers in a refusal aren't the server's limit.
# The kinds of complaints that may be about a part of the request.
REFUSING = (
    *(Kind.REFUSED_PART, Kind.BAD_REQUEST, Kind.REPORTED, Kind.TEMPORARY),
    Kind.WRONG_PATH,  # for a status of 404 or 405
)
# In a sentence that names a part in plain English, such as "tool use".
UNSUPPORTED = re.compile(
    r"unsupported|incompatible|unavailable|disabled|disallow|forbid|not implemented|notimplemented"
    r"|unimplemented"
    r"|\bno(?:t|r)?\b(?: \S+){0,5} support|n't (?:\S+ )?support|\bonly (?:\S+ ){0,6}support"
    r"|(?:\bnot|n't)(?: \w+){0,2} (?:supported|allowed|permitted|available|enabled|accepted"
    r"|compatible|valid|recogni[sz]ed|used|provided|verified)"
    r"|\b(?:cannot|can't|can not|unable to) (?:both )?(?:be )?(?:use|combine|set|stream|handle"
    r"|accept|enable|specif)|\brequires?\b|\bmust\b|failed to \w+ grammar"
    r"|conversion failed|不支持",
    re.I,
)
# In a text that names a field of the request.
REFUSED = re.compile(
    rf"{UNSUPPORTED.pattern}|unknown|unrecogni[sz]ed|unexpected|invalid(?![_ ]?request)|\bextra"
    r"|cannot find|mismatch|no such|additional propert|\bshould\b|expected|\bremove\b|deprecated"
    r"|illegal|undefined|not defined|too (?:large|many|high|big)|\bbad\b|\bwrong\b|one of",
    re.I,
)
# A name of one word is often meant in another sense, so it counts only as the name of a field.
PLAIN_WORDS = frozenset(
    {"functions", "metadata", "n", "seed", "stop", "store", "stream", "tools", "user"}
)

# What servers call a part beside the name of its field.
OPTIONS = re.compile(r"include_usage|stream options", re.I)
THINKING = re.compile(r"\b(?:thinking|think|reasoning)\b", re.I)
FORMAT = re.compile(
    r"\bjson[_ -]?(?:mode|schema|object|output)|structured[_ -]?outputs?|response[_ ]?(?:mime|type)"
    r"|guided|grammar|constrained|unimplemented keys",
    re.I,
)
TOOLS = re.compile(
    r"\btools?\b|\btool[_ -]?(?:use|calls?|calling|choice|config|results?)\b|--jinja"
    r"|\bfunction[_ -]?call(?:s|ing)?\b|\bfunction declarations?\b|\bfunctions\b|函数|工具",
    re.I,
)
STREAMING = re.compile(r"\bstream(?:ing|ed)?\b", re.I)
ROLES = re.compile(
    r"\balternat|first message (?:must|should)|last message must|roles? in a row"
    r"|\b(?:start|begin) with (?:an? )?\W?user|unexpected role \W?\w+\W? after|turn comes"
    r"|multi-?turn|same role|\bsuccessive\b|\binterleav",
    re.I,
)
ROLE = r"(?:system|developer)"
SYSTEM = re.compile(
    rf"\b{ROLE}\W{{1,3}}(?:role|message|prompt|instruction)|\brole\W{{0,4}}{ROLE}\b"
    rf"|[\"'`]{ROLE}[\"'`]|\bonly (?:the )?\W?user\W? (?:and|or) \W?assistant"
    r"|\broles?\b.{0,60}(?:input should be|must be one of|expected one of|invalid|unknown)"
    r"|\broles?\W{1,3}(?:must|should|can only) be \W?user"
    r"|(?:invalid|unknown|unsupported|unexpected) (?:message )?role",
    re.I,
)
# OpenAI's models that refuse "system" take "developer". Other servers drop a role that they don't
# know, or fail in a template.
DEVELOPER = re.compile(r"developer|does not support \W?system", re.I)
NULL_CONTENT = re.compile(
    r"\bcontent\b.{0,80}?(?:\bnull\b|\bnone\b|\bnil\b|string|missing|required)"
    r"|(?:\bnull\b|\bnone\b|type mismatch).{0,80}?\bcontent\b|none is not of type",
    re.I,
)
EMPTY_CONTENT = re.compile(
    r"non-?(?:empty|whitespace)|(?:not|n't) be (?:empty|blank)|empty (?:content|text|message)"
    r"|(?:content|text)\b.{0,60}\b(?:blank|empty|at least (?:1|one) char)",
    re.I,
)
EFFORT = re.compile(rf"\b(?:{'|'.join(EFFORTS)})\b", re.I)
CHOICES = re.compile(
    r"\b(?:values?|options?|one of|should be|must be|expected|choose|only|supports?)\b", re.I
)
NUMBER = re.compile(r"(?<![\w.-])\d{1,3}(?:,\d{3})+(?!\d)|(?<![\w.-])\d+(?![\w.-]*\w)")
LIMIT = re.compile(
    r"max[_ -]?(?:completion[_ -]?|output[_ -]?|new[_ -]?)?tokens|maximum tokens|output tokens"
    r"|\b(?:in|for) the (?:completion|output)",
    re.I,
)
TOO_LARGE = re.compile(
    r"too (?:large|big|high|many)|at most|\b(?:less|lower|greater|smaller|more)\b|exceed|range"
    r"|[<>≤]|up to|limit of|maximum|\bonly\b",
    re.I,
)
EXCLUSIVE = re.compile(r"\b(?:lower|less|smaller) than \W?\d|exclusive", re.I)
CONTEXT = re.compile(r"context (?:length|size|window)\D{0,20}(\d+)|<= (\d+)", re.I)
INPUT = re.compile(
    r"(\d+)\W{0,3}(?:inputs?\W{1,2}tokens|(?:tokens )?(?:in|from|of) (?:the |your )?(?:text )?"
    r"(?:messages|input|prompt))"
    r"|- (\d+)\)",
    re.I,
)
AT_LEAST = re.compile(r"\bat least $", re.I)


# The phrases that name a part.
PHRASES = {
    "stream_options": OPTIONS,
    "reasoning_effort": THINKING,
    "null content": NULL_CONTENT,
    "empty content": EMPTY_CONTENT,
    "roles": ROLES,
    "system": SYSTEM,
    "response_format": FORMAT,
    "stream": STREAMING,
    "tools": TOOLS,
    "calls": TOOLS,
}
# Parts of the messages, which aren't fields of the request.
OF_MESSAGES = ("null content", "empty content", "roles", "system", "calls")
# What must be in the sentence with the phrase. The phrases of messages are exact: a hint will do.
REFUSALS = dict.fromkeys(OF_MESSAGES, REFUSED) | {
    "roles": ROLES,
    "empty content": EMPTY_CONTENT,
}
# The least loss comes first, because one refusal may name several parts. Parts that aren't here
# shape the answer a little, and are better lost than these.
LOSSES = (
    *LIMITS,
    *("reasoning_effort", "null content", "empty content", "roles", "system"),
    *("response_format", "stream", "tools", "calls"),
)

type Forms = Mapping[str, str]  # The forms that parts of a request have taken, by part.


@dataclass(frozen=True, slots=True)
class Said:
    """What a server says about a request."""

    sentences: tuple[str, ...]
    text: str  # with codes
    fields: frozenset[str]  # that a validator names

    @classmethod
    def in_complaint(cls, complaint: Complaint) -> "Said":
        sentences = re.split(r"(?<=[.!?;])\s+(?=\W?[A-Z])|。", complaint.words)
        text = " ".join((complaint.words, complaint.code, complaint.type, complaint.marks))
        names = (complaint.param, *complaint.paths)
        fields = frozenset(re.split(r"[.\[/]", name)[0] for name in names)
        return cls(tuple(sentences), text, fields)

    def refuses(self, part: str) -> bool:
        """Return True if the words refuse this part of a request."""
        is_named = part not in OF_MESSAGES and field_name(part).search(self.text)
        if is_named and REFUSED.search(self.text):
            return True
        phrase = PHRASES.get(part)
        return phrase is not None and any(
            phrase.search(sentence) and REFUSALS.get(part, UNSUPPORTED).search(sentence)
            for sentence in self.sentences
        )


def changes_for(request: Request, complaint: Complaint, taken: Forms) -> Iterable[Change]:
    """Yield the changes that a complaint may ask for, the least loss first.

    `taken` are the forms that were tried, or that are remembered.
    """
    kind = kind_of(complaint)
    limit = lower_limit(request, complaint.words)
    # A request is too long for a context also because of the answer that it asks for.
    if limit and kind in (*REFUSING, Kind.TOO_LONG):
        yield limit
    # Without room for an answer, no other form of the limit helps.
    is_too_long = CONTEXT.search(complaint.words) and INPUT.search(complaint.words)
    if kind not in REFUSING or is_too_long:
        return
    said = Said.in_complaint(complaint)
    present = sorted(parts_of(request), key=loss)
    # A part that a validator names is more certain than one in its words.
    for part in [part for part in present if part in said.fields] or present:
        if part in said.fields or said.refuses(part):
            yield from forms_of(part, request, said, taken)


def parts_of(request: Request) -> Iterable[str]:
    """Yield the parts of a request that may be refused."""
    yield from (field for field in request if field not in ("model", "messages", "stream"))
    messages = request["messages"]
    if request.get("stream"):
        yield "stream"
    if any(message["content"] is None for message in messages):
        yield "null content"
    if not all(message["content"] for message in messages):
        yield "empty content"
    yield "roles"
    if any(message["role"] in INSTRUCTING for message in messages):
        yield "system"
    if "tools" not in request and has_calls(request):
        yield "calls"


def loss(part: str) -> int:
    return LOSSES.index(part) if part in LOSSES else -1


@cache
def field_name(part: str) -> re.Pattern[str]:
    """Return a pattern for the name of a field, as servers in several languages write it."""
    if "_" in part:
        return re.compile(rf"(?<!\w){part.replace('_', '[_ -]?')}(?!\w)", re.I)
    if part not in PLAIN_WORDS:
        return re.compile(rf"(?<!\w){re.escape(part)}(?!\w)", re.I)
    # A 'user' in quotes is a role.
    quoted = "" if part == "user" else rf"[\"'`‘“\[{{]{part}[\"'`’”\]}}\[.]|"
    kind = r"(?:parameter|argument|field|property|option|keyword|param|input|name)"
    return re.compile(
        rf"{quoted}\b{kind}s?\W{{1,3}}{part}\b|\b{part}\W{{1,2}}{kind}\b"
        rf"|\b{part} ?=|^{part}(?:\.\S*)?:",
        re.I,
    )


def forms_of(part: str, request: Request, said: Said, taken: Forms) -> Iterable[Change]:
    """Yield the forms that a refused part may take, the nearest to the refused one first."""
    match part:
        case "max_tokens" | "max_completion_tokens":
            # Both names are one part. If this name is the second one, the first was refused, too.
            if taken.get("max_tokens") != part:
                yield Change("max_tokens", LIMITS[1 - LIMITS.index(part)])
            yield Change("max_tokens")
        case "reasoning_effort":
            # What an earlier refusal left out is refused, too.
            left = taken[part].split(", ") if part in taken else EFFORTS
            offered = [each for each in offered_efforts(request[part], said.text) if each in left]
            if offered:
                yield Change(part, ", ".join(offered))
            yield Change(part)
        case "null content":
            yield Change(part, "empty text")
        case "empty content":
            yield Change(part, EMPTY)
        case "roles":
            yield Change(part, "alternating")
            # Templates without tools count their results as messages out of order.
            yield Change("tools") if "tools" in request else Change("calls", "text")
        case "system":
            if part not in taken and DEVELOPER.search(said.text):
                yield Change(part, "developer")
            yield Change(part, "user")
        case "response_format":
            yield Change(part, "json_object")
            yield Change(part)
        case "stream":
            is_beside_tools = "tools" in request and TOOLS.search(said.text)
            yield Change(part, WHOLE_BESIDE_TOOLS if is_beside_tools else WHOLE)
        case "calls":
            yield Change(part, "text")
        case _:
            yield Change(part)


def offered_efforts(effort: str, text: str) -> list[str]:
    """Return the efforts that a refusal of this one offers, the lowest first."""
    offer = CHOICES.search(text)
    named = {found[0].lower() for found in EFFORT.finditer(text[offer.end() :] if offer else "")}
    return [each for each in EFFORTS if each in named and each != effort]


def lower_limit(request: Request, words: str) -> Change | None:
    """Return the change to a lower token limit if a refusal names one."""
    limit = next((request[name] for name in LIMITS if name in request), 0)
    if not limit or not LIMIT.search(words):
        return None
    words = re.sub(r"(?<=\d),(?=\d{3})", "", words)
    context, input_ = CONTEXT.search(words), INPUT.search(words)
    if context and input_:
        room = number_in(context) - number_in(input_)
        if AT_LEAST.search(words[: input_.start()]):
            # The server has read only as much as it takes to refuse this limit.
            room = min(room, limit // 2)
        return Change("room", str(room)) if MIN_ROOM <= room < limit else None
    if (context and context[1]) or not TOO_LARGE.search(words):
        return None
    numbers = [int(found) for found in NUMBER.findall(words)]
    lower = max((number for number in numbers if MIN_LIMIT <= number < limit), default=None)
    if lower is None:
        return None
    return Change("answer tokens", str(lower - bool(EXCLUSIVE.search(words))))


def number_in(found: re.Match[str]) -> int:
    return int(next(group for group in found.groups() if group))
