"""An answer as the terminal shows it: its words on standard output, notes about it on the other."""

from typing import Protocol

import msgspec

from chat.doors.client.protocol import (
    AskOpened,
    Done,
    Error,
    OrchestratorMessage,
    ResponseDelta,
    ResponseSnapshot,
    Resumed,
    RoutingDecided,
    SourceData,
    StreamEvent,
    Summary,
    ToolComplete,
    ToolRejected,
)
from chat.protocol import terms
from chat.protocol.payloads import ToolResultData
from chat.rendering.remarks import missed_quotes_of, remarks_of
from chat.rendering.wording import cached_share, duration, number, result_words
from tooling.untrusted import one_line


class Output(Protocol):
    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


class Printer:
    """Prints the events of one answer, or of several that go on with each other."""

    def __init__(self, out: Output, err: Output, *, is_json: bool) -> None:
        self.is_json = is_json
        self._out = out
        self._err = err
        self._text = ""  # of the answer, as it is printed
        self._has_begun = False  # a part of the answer is on an incomplete line
        self._sources: dict[int, SourceData] = {}

    def print_frame(self, frame: str, event: StreamEvent) -> None:
        if self.is_json:
            self._out.write(f"{frame}\n")
        else:
            self.print_event(event)
        self._out.flush()

    def print_event(self, event: StreamEvent) -> None:
        """Write the answer, and notes about it."""
        match event:
            case ResponseDelta():
                self.print_words(event.delta)
            case ResponseSnapshot(data=snapshot):
                # A run that goes on begins with the text that is printed already.
                if not (self._text and snapshot.text.startswith(self._text)):
                    self.discard(
                        "The answer starts again:" if snapshot.text else "That answer is discarded."
                    )
                self.print_words(snapshot.text.removeprefix(self._text))
            case RoutingDecided():
                if event.data.escalated:
                    self.discard("That answer is discarded.")
                self._sources.clear()
                path = "light" if event.data.path == "light" else "full team"
                self.note(
                    f"{path}: {'; '.join(event.data.reasons)}" if event.data.reasons else path
                )
            case ToolComplete():
                self._sources |= {source.number: source for source in event.data.sources}
                result = msgspec.convert(event.data, ToolResultData, from_attributes=True)
                told = (result.tool, duration(result.duration_ms), result_words(result))
                self.note(f"{event.author}: {', '.join(filter(None, told))}")
            case ToolRejected():
                self.note(f"{event.author}: {event.data.tool} was not called ({event.data.reason})")
            case OrchestratorMessage():
                self.note(event.message)
            case Resumed():
                self.note("Another worker goes on with this answer.")
            case AskOpened(data=ask):
                what = f": {ask.tool}" if ask.tool else ""
                self.note(f"{event.author} asks for your decision ({ask.kind}{what})")
            case Done() if event.data.status == "paused":
                self.end_line()
            case Done():
                self.end_line()
                for number in sorted(self._sources):
                    self._out.write(f"{cited(self._sources[number])}\n")
                if words := remarks(event.data):
                    self.note(words)
                self.note(f"({figures_of(event.data)})")
            case Error():
                self.end_line()
                self.note(event.error.message)

    def print_words(self, words: str) -> None:
        """Print a piece of the answer."""
        self._out.write(words)
        self._text += words
        self._has_begun = self._has_begun or bool(words)

    def end_line(self) -> None:
        self._out.write("\n")
        self._has_begun = False

    def discard(self, words: str) -> None:
        """Mark what is printed of the answer as invalid, because it cannot be erased."""
        self._text = ""
        if self._has_begun:
            self.end_line()
            self.note(words)

    def note(self, words: str) -> None:
        """Write a line about the answer.

        It may contain text of models and of the web, so remove line breaks and control characters.
        """
        self._out.flush()
        gap = "\n" if self._has_begun else ""  # the answer's line is not complete
        self._err.write(f"{gap}{one_line(words)}\n")

    def prompt(self, words: str) -> None:
        """Ask the person for a line."""
        self._err.write(f"{words} ")
        self._err.flush()


def figures_of(summary: Summary) -> str:
    """Return how long the answer took, and how much of the input was cached if that is known."""
    usage = msgspec.convert(summary.usage, terms.Usage, from_attributes=True)
    parts = [duration(summary.timings.total_ms or 0)]
    if usage.cached_tokens:
        read = f"{number(usage.input_tokens)} tokens read"
        parts.append(f"{cached_share(usage)} of {read} cached")
    return ", ".join(parts)


def remarks(summary: Summary) -> str:
    """Return what one should know before one relies on the answer."""
    told = terms.Summary(
        quotes=msgspec.convert(summary.quotes, terms.QuoteCheck | None, from_attributes=True),
        unread_messages=summary.unread_messages,
        summarized_messages=summary.summarized_messages,
    )
    return " ".join((*remarks_of(told), *missed_quotes_of(told)))


def cited(source: SourceData) -> str:
    where = ", ".join(filter(None, (source.host, (source.published or "")[:10])))
    place = f" ({where})" if where else ""
    return one_line(f"[{source.number}] {source.title}{place} {source.url}")
