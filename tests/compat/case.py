"""A case: what the server plays, and what must reach the reader."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.chatting import Event, text_of

from .server import Exchange
from .wire import ANSWER, THOUGHT, Reply

Body = dict[str, Any]
Play = Callable[[Exchange], Reply]
BESIDE = ("orchestrator.message", "orchestrator.thought", "notice")  # events that tell of an answer


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reader gets. The fields that are not set are not checked."""

    text: str | None = None
    begins: str = ""  # how the text begins
    code: str | None = None  # of the error; "" for a completed run, "any" for any error
    says: Sequence[str] = ()  # one of them is in the error, or beside the answer
    without: Sequence[str] = ()  # none of them is in the text or in what the reader is told
    usage: tuple[int, int] | None = None  # tokens in and out, as counted by the server
    more_usage: Mapping[str, int] = field(default_factory=dict)
    is_estimated: bool | None = None
    thought: str | None = None
    tools: Sequence[str] = ()  # that ran, and all succeeded
    max_chars: int = 0  # of an error's message
    is_taken_back: bool = False  # text that was shown before has been replaced

    def fault(self, events: Sequence[Event]) -> str:
        """Return how these events differ from this outcome, or an empty string."""
        end, text, told = events[-1], text_of(list(events)), told_in(events)
        code = end["error"]["code"] if end["type"] == "error" else ""
        if code != (self.code or "") and not (self.code == "any" and code):
            return f"ends with {code or end['data']['status']!r}: {told[:300]!r}, text {text!r}"
        if self.text is not None and text != self.text:
            return f"text {text!r}"
        if not text.startswith(self.begins):
            return f"text {text!r} does not begin with {self.begins!r}"
        if self.says and not any(word.lower() in told.lower() for word in self.says):
            return f"none of {list(self.says)} in {told!r}"
        for word in self.without:
            if word.lower() in f"{text}\n{told}".lower():
                return f"{word!r} in text {text!r} or {told[:600]!r}"
        if self.max_chars and len(told) > self.max_chars:
            return f"{len(told)} characters told"
        thought = "".join(each["delta"] for each in events if each["type"] == "reasoning.delta")
        if self.thought is not None and thought.strip() != self.thought:
            return f"thought {thought!r}"
        if self.is_taken_back and not any(each["type"] == "response.snapshot" for each in events):
            return "nothing was taken back"
        return self.fault_of_usage(end) or self.fault_of_tools(events)

    def fault_of_usage(self, end: Event) -> str:
        usage = end["data"].get("usage", {})
        counted = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
        if self.usage and (counted != self.usage or usage.get("estimated")):
            return f"usage {usage}"
        if self.is_estimated and not usage.get("estimated"):
            return f"usage {usage}, which is not estimated"
        for name, count in self.more_usage.items():
            if usage.get(name) != count:
                return f"usage {usage}, not {name} {count}"
        return ""

    def fault_of_tools(self, events: Sequence[Event]) -> str:
        if not self.tools:
            return ""
        ended = [each["data"] for each in events if each["type"] == "tool.complete"]
        ran = sorted(each["tool"] for each in ended if each["ok"])
        return "" if ran == sorted(self.tools) else f"the tools {ran} ran"


def told_in(events: Sequence[Event]) -> str:
    """Return what the reader is told besides the answer: the error, or events beside the text."""
    if events[-1]["type"] == "error":
        return str(events[-1]["error"]["message"])
    return "\n".join(each["message"] for each in events if each["type"] in BESIDE)


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that a server may do.

    `refuses` says which requests of the case the server refuses, for cases about refusals: each
    refused request must come again in a form that isn't refused. `times` is how often the question
    is asked; the last time, nothing may be refused.
    """

    name: str
    play: Play
    wants: Sequence[Outcome]  # one of them
    mode: str = "light"
    fields: Mapping[str, Any] = field(default_factory=dict)  # of the chat request
    refuses: Callable[[Body], bool] | None = None
    times: int = 1
    requests: Callable[[Sequence[Exchange]], str] | None = None  # returns what is wrong with them
    may_be_late: bool = False  # the words need not come one by one
    has_own_model: bool = False

    @property
    def question(self) -> str:
        return f"Tell me about the lantern. [{self.name}]"

    @property
    def model(self) -> str:
        """A model of its own, if what is learned in this case must not change others."""
        return f"grove-{self.name}" if self.refuses or self.has_own_model else ""

    @property
    def is_paced(self) -> bool:
        """Return True if each word waits until the reader has the words before."""
        # The words of the team's other agents are no part of the answer.
        return self.mode == "light" and not self.may_be_late

    def variant(self, name: str, change: Callable[[Reply], Reply]) -> "Case":
        """Return this case with each stream changed."""

        def play(exchange: Exchange) -> Reply:
            reply = self.play(exchange)
            return change(reply) if reply.is_stream else reply

        return replace(self, name=f"{self.name}, {name}", play=play)

    def fault(
        self, rounds: Sequence[Sequence[Event]], exchanges: Sequence[Exchange], late: bool
    ) -> str:
        """Return what is wrong with what the readers got and the server was asked."""
        faults = [outcome.fault(rounds[-1]) for outcome in self.wants]
        if all(faults):
            return "; or: ".join(faults)
        if late:
            return "the words did not come at once"
        if self.refuses and (found := self.fault_of_refusals(exchanges)):
            return found
        return self.requests(exchanges) if self.requests else ""

    def fault_of_refusals(self, exchanges: Sequence[Exchange]) -> str:
        assert self.refuses
        refused = [number for number, each in enumerate(exchanges) if self.refuses(each.body)]
        if not refused:
            return "nothing was refused"
        if any(self.refuses(each.body) for each in exchanges[-1:]):
            return "the last request was refused"
        if self.times > 1 and refused[-1] > 1:
            return f"the requests {refused} of {len(exchanges)} were refused again"
        return ""


# --- Plays ----------------------------------------------------------------------------------------


def always(reply: Reply) -> Play:
    return lambda _: reply


def in_turn(*replies: Reply) -> Play:
    """Return a play of these replies in turn; the last one is repeated."""
    return lambda exchange: replies[min(exchange.number, len(replies) - 1)]


def for_seconds(seconds: float, first: Reply, then: Reply) -> Play:
    """Return a play that changes so many seconds after the first request."""
    return lambda exchange: first if exchange.since_first < seconds else then


# --- Cases ----------------------------------------------------------------------------------------


def case(name: str, reply: Reply | Play, *wants: Outcome, **options: Any) -> Case:
    play = always(reply) if isinstance(reply, Reply) else reply
    return Case(name, play, wants, **options)


def answers(name: str, reply: Reply | Play, /, **wants: Any) -> Case:
    """Return a case of which the usual answer comes."""
    options = {key: wants.pop(key) for key in list(wants) if key in CASE_FIELDS}
    if not wants.get("is_estimated"):
        wants.setdefault("usage", (11, 7))
    return case(name, reply, Outcome(**{"text": ANSWER, **wants}), **options)


def thinks(name: str, reply: Reply, /, **wants: Any) -> Case:
    """Return a case of which the usual answer comes, and the usual thoughts beside it, once."""
    return answers(name, reply, **{"thought": THOUGHT, "without": ["wick", "think>"], **wants})


def fails(name: str, reply: Reply | Play, *says: str, code: str = "any", **wants: Any) -> Case:
    """Return a case that ends with an error that says one of these words."""
    options = {key: wants.pop(key) for key in list(wants) if key in CASE_FIELDS}
    return case(name, reply, Outcome(code=code, says=says, **wants), **options)


CASE_FIELDS = {"mode", "fields", "refuses", "times", "requests", "may_be_late", "has_own_model"}
