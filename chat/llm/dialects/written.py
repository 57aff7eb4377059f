"""Tool calls that a model writes as text, because its server has no parser for them."""

import re
from collections.abc import Collection, Iterator
from typing import Any, Literal

import msgspec

from tooling.decoding import UNREADABLE_JSON

from .calls import NO_ARGUMENTS, JsonEnd, known_name
from .normal import CallDelta

MAX_WRITTEN_CHARS = 32 * 1024  # Characters held back for calls. More than that is an answer.
MAX_UNDECIDED_CHARS = 512  # Characters that may come before it shows that a call is written.

FENCE = "```"
# What begins a call, with what ends it, if anything does.
OPENERS = {
    "<tool_call>": "</tool_call>",
    "<tool_calls>": "</tool_calls>",
    "<function_call>": "</function_call>",
    "<function_calls>": "</function_calls>",
    "<minimax:tool_call>": "</minimax:tool_call>",
    "<|tool_call|>": "<|/tool_call|>",
    "<|tool_calls_section_begin|>": "<|tool_calls_section_end|>",
    "<｜tool▁calls▁begin｜>": "<｜tool▁calls▁end｜>",
    "<function=": "</function>",
    "[TOOL_CALLS]": "",
    "<|python_tag|>": "",
    FENCE: FENCE,
}
LANGUAGES = ("json", "tool_call", "tool_calls", "function_call", "tool_code", "xml", "text", "")

NAME_KEYS = ("name", "function", "tool", "tool_name")
ARGUMENT_KEYS = ("arguments", "parameters", "args", "input", "tool_input")
LIST_KEYS = ("tool_calls", "function_calls", "calls")
OTHER_KEYS = ("type", "id", "index")
CALL_KEYS = NAME_KEYS + ARGUMENT_KEYS + LIST_KEYS + OTHER_KEYS
CALL_TYPES = ("function", "function_call", "tool_call", "tool_use")

LANGUAGE = re.compile(r"\s*([A-Za-z_]*)\s*")
KEY = re.compile(r'"([^"\\]*)"\s*:\s*')
STRING = re.compile(r'"([^"\\]*)("?)')
SKIPPED_VALUE = re.compile(r'("[^"\\]*"|\d+)\s*,\s*')
SKIPPED_VALUE_SO_FAR = re.compile(r'("[^"\\]*"?|\d+)?\s*')
NOT_IN_A_NAME = re.compile(r"[^\w-]+")
WORD = re.compile(r"[\w.:-]*")

TAGS = ("<function=", "<function name=", "<invoke name=")
INNER_TAGS = (
    *TAGS,
    *(opener for opener in OPENERS if opener != FENCE),
    "<|tool_call_begin|>",
    "<｜tool▁call▁begin｜>",
)
TAG_NAME = re.compile(r'<(?:function=|function name=|invoke name=)"?([^>"\s]*)([>"\s]?)')
FUNCTION = re.compile(
    r'<(?:function=|function name=|invoke name=)"?([^>"\s]+)"?[^>]*>(.*?)'
    r"(?:</function>|</invoke>|(?=<function|<invoke)|\Z)",
    re.DOTALL,
)
PARAMETER = re.compile(
    r'<parameter(?:=| name=)"?([^>"]+)"?[^>]*>(.*?)(?:</parameter>|(?=<parameter)|\Z)', re.DOTALL
)
KEYED_ARGUMENT = re.compile(
    r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)(?:</arg_value>|\Z)", re.DOTALL
)
LIST_SO_FAR = re.compile(r"\[?\s*")
DOCUMENT = re.compile(r"\{|\[(?=\s*[{\]])")

type Likelihood = Literal["no", "maybe", "yes"]


class Candidate:
    """Text that may turn out to be tool calls, from its opener on.

    Without an opener it is JSON, which must be the whole text. `calls` are those that it has.
    """

    def __init__(self, opener: str, tools: Collection[str]) -> None:
        self.calls: list[CallDelta] = []
        self._tools = tools
        self._is_bare = not opener.strip()
        self._opener = opener
        self._close = OPENERS.get(opener, "")
        # The name of the tool is a part of this opener.
        self._start = 0 if opener in TAGS else len(opener)
        self._is_likely = False
        self._document: JsonEnd | None = None  # the one that the text so far ends in
        self._at = self._start  # how far the text was read
        self._closes_from = 0  # where the closing tag is looked for
        self._is_json = False

    def read(self, text: str, *, is_end: bool) -> int | None:
        """Return the index behind the calls, 0 if there are none, or None if more must come.

        `text` is all text since the opener.
        """
        if not self._is_likely:
            match self.likelihood(text[:MAX_UNDECIDED_CHARS]):
                case "maybe" if not is_end and len(text) < MAX_UNDECIDED_CHARS:
                    return None
                case "yes":
                    self._is_likely = True
                case _:
                    return 0
        end = self.end_of_documents(text) if self._is_json else self.end_of_text(text)
        if end is None and not is_end and len(text) <= MAX_WRITTEN_CHARS:
            return None
        end = len(text) if end is None else end
        if end > MAX_WRITTEN_CHARS:
            return 0
        content = text[self._start : end].removesuffix(self._close)
        self.calls = calls_in(content, self._tools, needs_arguments=self.is_untagged)
        return end if self.calls else 0

    @property
    def is_untagged(self) -> bool:
        return self._is_bare or self._opener == FENCE

    # --- Is it a call?

    def likelihood(self, text: str) -> Likelihood:
        """Return if the text so far may become a call. Note where its content begins."""
        start = self._start
        if self._opener == FENCE:
            language = LANGUAGE.match(text, start)
            assert language, "it matches the empty text"
            word = language[1].lower()
            if language.end() == len(text):
                return likely(any(known.startswith(word) for known in LANGUAGES))
            if word not in LANGUAGES:
                return "no"
            start = language.end()
        content = text[start:].lstrip()
        if not content:
            return "maybe"
        start = len(text) - len(content)
        if content[0] in "{[":
            self._is_json, self._at = True, start
            return leads_to_call(content, self._tools)
        if self._is_bare:
            return "no"
        if content[0] == "<":
            return tag_leads_to_call(content, self._tools)
        return "no" if self._opener == FENCE else self.name_leads_to_call(content, text)

    def name_leads_to_call(self, content: str, text: str) -> Likelihood:
        """Return if the text may be a tool's name, which stands before its arguments."""
        word = WORD.match(content)
        assert word, "it matches the empty text"
        if word.end() == len(content):
            return likely(may_be_offered(word[0], self._tools))
        if not is_offered(word[0], self._tools):
            return "no"
        if self._close:
            return "yes"
        # Nothing but the end of its arguments ends this call.
        begin = DOCUMENT.search(content)
        if begin:
            self._is_json, self._at = True, len(text) - len(content) + begin.start()
        return "yes" if begin else "maybe"

    # --- Where does it end?

    def end_of_text(self, text: str) -> int | None:
        if not self._close:
            return None
        at = text.find(self._close, max(self._start, self._at - len(self._close)))
        self._at = len(text)
        return at + len(self._close) if at >= 0 else None

    def end_of_documents(self, text: str) -> int | None:
        """Return the index behind the JSON documents and the closing tag, if that comes next."""
        while not self._document or self.read_document(text, self._document):
            # Models write one brace too many, or something between two calls.
            rest = text[self._at :].lstrip(" \t\r\n;,}]")
            here = len(text) - len(rest)
            if DOCUMENT.match(rest):
                self._document, self._at, self._closes_from = JsonEnd(), here, here
            elif self._close and rest.startswith(self._close):
                return here + len(self._close)
            elif LIST_SO_FAR.fullmatch(rest) or self._close.startswith(rest):
                return None
            else:
                return 0 if self._is_bare else here
        return None

    def read_document(self, text: str, document: JsonEnd) -> bool:
        """Read on in a JSON document. Return False if it goes on behind `text`."""
        while True:
            close = text.find(self._close, self._closes_from) if self._close else -1
            stop = len(text) if close < 0 else close
            end = document.find(text, self._at, stop)
            self._at = stop if end is None else end
            if end is not None or (close >= 0 and not document.is_string):
                self._document = None  # Or its last brace is missing before the closing tag.
                return True
            if close < 0:
                # The text may end in a part of the closing tag, which has no marks of JSON.
                self._closes_from = max(self._closes_from, len(text) - len(self._close) + 1)
                return False
            self._closes_from = close + 1


def likely(is_so: bool) -> Likelihood:
    return "maybe" if is_so else "no"


def is_offered(name: str, tools: Collection[str]) -> bool:
    """Return True if this name, which may be one such as `functions.clock:0`, means a tool."""
    return known_name(name, tools) in tools


def may_be_offered(beginning: str, tools: Collection[str]) -> bool:
    """Return True if a name that begins so may mean a tool."""
    last = beginning.rpartition(".")[2].partition(":")[0]
    return "functions".startswith(beginning) or any(tool.startswith(last) for tool in tools)


def tag_leads_to_call(content: str, tools: Collection[str]) -> Likelihood:
    if name := TAG_NAME.match(content):
        if name[2]:
            return "yes" if is_offered(name[1], tools) else "no"
        return likely(may_be_offered(name[1], tools))
    if content.startswith(INNER_TAGS):
        return "yes"
    return likely(any(tag.startswith(content) for tag in INNER_TAGS))


def leads_to_call(text: str, tools: Collection[str]) -> Likelihood:
    """Return if JSON text may become calls. Its first keys show it."""
    if text.startswith("["):
        text = text[1:].lstrip()
    while text.startswith("{"):
        text = text[1:].lstrip()
        key = KEY.match(text)
        while key and key[1] in OTHER_KEYS:
            value = SKIPPED_VALUE.match(text, key.end())
            if not value:
                return likely(bool(SKIPPED_VALUE_SO_FAR.fullmatch(text, key.end())))
            if key[1] == "type" and value[1].strip('"') not in CALL_TYPES:
                return "no"
            text = text[value.end() :]
            key = KEY.match(text)
        if not key:
            return key_leads_to_call(text)
        text = text[key.end() :]
        if not text:
            return likely(key[1] in CALL_KEYS)
        if key[1] in ARGUMENT_KEYS:
            return "yes" if text[0] in '{"' else "no"
        if key[1] in LIST_KEYS and text[0] == "[":
            text = text[1:].lstrip()
        elif key[1] in NAME_KEYS and text[0] == '"':
            name = STRING.match(text)
            if name and name[2]:
                return "yes" if is_offered(name[1], tools) else "no"
            return likely(bool(name and may_be_offered(name[1], tools)))
        elif key[1] != "function":
            return "no"
    return likely(not text)


def key_leads_to_call(text: str) -> Likelihood:
    """Return if the text may become a key of a call."""
    key = STRING.match(text)
    if not key:
        return likely(not text)
    if not key[2]:
        return likely(any(known.startswith(key[1]) for known in CALL_KEYS))
    return likely(key[1] in CALL_KEYS and not text[key.end() :].strip())


def calls_in(text: str, tools: Collection[str], *, needs_arguments: bool) -> list[CallDelta]:
    """Return the calls in the text; none if it holds anything that isn't a call of a tool."""
    if functions := FUNCTION.findall(text):
        found = [CallDelta(name=name, arguments=arguments_in(body)) for name, body in functions]
        return found if all(is_offered(call.name, tools) for call in found) else []
    name = next((word for word in NOT_IN_A_NAME.split(text) if word in tools), "")
    keyed = KEYED_ARGUMENT.findall(text)
    if keyed or text.strip() == name:
        return [CallDelta(name=name, arguments=encoded_values(keyed))] if name else []
    calls: list[CallDelta] = []
    for before, document in documents(text):
        value = decoded(document)
        if isinstance(value, dict) and (name := last_offered(before, tools)):
            calls.append(CallDelta(name=name, arguments=encoded(value)))
            continue
        found = [*calls_of(value, needs_arguments=needs_arguments)]
        if not found or not all(is_offered(call.name, tools) for call in found):
            return []
        calls += found
    return calls


def documents(text: str) -> Iterator[tuple[str, str]]:
    """Yield the JSON objects and arrays of the text, each with the text before it."""
    at = 0
    while begin := DOCUMENT.search(text, at):
        end = JsonEnd().find(text, begin.start()) or len(text)
        yield text[at : begin.start()], text[begin.start() : end]
        at = end


def last_offered(text: str, tools: Collection[str]) -> str:
    return next((word for word in reversed(NOT_IN_A_NAME.split(text)) if word in tools), "")


def calls_of(value: object, *, needs_arguments: bool) -> Iterator[CallDelta]:
    """Yield the calls that a JSON value holds, in any of the forms that models write."""
    if isinstance(value, list):
        for item in value:
            yield from calls_of(item, needs_arguments=needs_arguments)
        return
    if not isinstance(value, dict):
        return
    for key in LIST_KEYS:
        if isinstance(value.get(key), list):
            yield from calls_of(value[key], needs_arguments=needs_arguments)
            return
    inner = value.get("function")
    if isinstance(inner, dict):
        value = inner
    name = next((value[key] for key in NAME_KEYS if isinstance(value.get(key), str)), "")
    arguments = next((value[key] for key in ARGUMENT_KEYS if key in value), None)
    if name and (arguments is not None or not needs_arguments):
        text = arguments if isinstance(arguments, str) else encoded(arguments)
        yield CallDelta(name=name, arguments=text)


def arguments_in(body: str) -> str:
    """Return the arguments in the body of a `<function=…>` tag, as JSON."""
    parameters = PARAMETER.findall(body)
    if not parameters and (text := body.strip()).startswith("{"):
        return text
    return encoded_values(parameters)


def encoded_values(pairs: list[tuple[str, str]]) -> str:
    """Return arguments that were written between tags, as JSON."""
    return encoded({key.strip(): value_in(text.strip()) for key, text in pairs})


def value_in(text: str) -> Any:
    """Return the value that stands between tags. What isn't JSON is a string."""
    try:
        return msgspec.json.decode(text)
    except UNREADABLE_JSON:
        return text


def decoded(document: str) -> object:
    """Return a JSON document decoded, or None. Models forget closing braces."""
    for missing in ("", "}", "}}", "}]"):
        try:
            return msgspec.json.decode(document.rstrip() + missing)
        except UNREADABLE_JSON:
            continue
    return None


def encoded(value: object) -> str:
    return msgspec.json.encode(value).decode() if value else NO_ARGUMENTS
