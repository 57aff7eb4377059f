"""The text of an answer, apart from the thinking and the tool calls that are written in it.

Whatever the cut of the text, the joined pieces are the same. Text goes out at once, except what may
still become a tag or a call.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from itertools import groupby

from chat.llm.messages import Reasoning, Retraction, Text

from .harmony import HARMONY_OPENERS, Harmony
from .markup import Markup
from .normal import CallDelta
from .written import FENCE, OPENERS, Candidate

type SpeechPiece = Text | Reasoning | Retraction

THINKING_NAMES = ("think", "thinking", "thought", "thoughts", "reasoning", "reflection")
THINKING_OPENING = re.compile(
    r"<\|?((?:[\w-]{1,32}:)?(?:think|thinking|thoughts?|reasoning|reflection))(?:\s[^<>]{0,200})?\|?>"
    r"|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|START_THINKING\|>|<\|channel>thought",
    re.IGNORECASE,
)
# Tags whose closing tag isn't the name with a slash.
CLOSINGS = {
    "[think]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<|think|>": "<|/think|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|start_thinking|>": "<|END_THINKING|>",
    "<|channel>thought": "<channel|>",
}
CLOSERS = (
    *(f"</{space}{name}>" for space in ("", "seed:", "mm:") for name in THINKING_NAMES),
    *CLOSINGS.values(),
)
# What some models write between their thinking and the answer.
ANSWER_OPENERS = ("<|START_RESPONSE|>", "<|begin_of_solution|>")
# What ends a text, if a server doesn't remove it.
END_TOKENS = frozenset(
    (
        *("</s>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>"),
        *("<|end|>", "<|return|>", "<end_of_turn>", "<｜end▁of▁sentence｜>"),
        *("<|end_response|>", "<|end_of_solution|>"),
    )
)
CLOSER = re.compile("|".join(map(re.escape, CLOSERS)), re.IGNORECASE)
# A tag that isn't complete yet, with its name and the space behind that.
TAG_SO_FAR = re.compile(r"<\|?(?:[\w-]{1,32}:)?([\w-]{0,32})(\s[^<>]{0,200})?\|?\Z")
STOPS_THOUGHT = re.compile(r"[<\[◁]|\s\Z")
MAX_FAILED_CALLS = 100  # What looked like a call, and was none.
MAX_SLICE_CHARS = 128  # of a text that are looked at together
MAX_TAG_CHARS = max(map(len, (*CLOSERS, *ANSWER_OPENERS, *END_TOKENS, *OPENERS)))


@dataclass(frozen=True, slots=True)
class Tags:
    """What a text is searched for."""

    whole: re.Pattern[str]
    first: re.Pattern[str]  # the character that begins one, before another that may follow it
    beginnings: frozenset[str]  # lower case

    def find(self, text: str, *, is_end: bool) -> tuple[re.Match[str] | None, int]:
        """Return the first tag, if there is one, and where the text before it ends.

        That is also where the end of the text begins that may still become a tag.
        """
        for first in self.first.finditer(text):
            start = first.start()
            if tag := self.whole.match(text, start):
                return tag, start
            is_short = not is_end and len(text) - start < MAX_TAG_CHARS
            if is_short and text[start:].lower() in self.beginnings:
                return None, start
        return None, len(text)


@cache
def tags_of(*tags: str) -> Tags:
    longest_first = sorted(tags, key=len, reverse=True)
    # With the second character, because a text may have very many of the first.
    seconds = {tag[0]: {each[1] for each in tags if each[0] == tag[0]} for tag in tags}
    begin = [
        rf"{re.escape(first)}(?=[{re.escape(''.join(second))}]|\Z)"
        for first, second in seconds.items()
    ]
    return Tags(
        re.compile("|".join(map(re.escape, longest_first)) or r"(?!)", re.IGNORECASE),
        re.compile("|".join(begin) or r"(?!)", re.IGNORECASE),
        frozenset(tag[:end].lower() for tag in tags for end in range(1, len(tag))),
    )


def joined(pieces: list[SpeechPiece]) -> list[SpeechPiece]:
    """Return the pieces with neighbours of one kind as one: readers get an event for each."""
    found: list[SpeechPiece] = []
    for kind, group in groupby(pieces, key=type):
        if kind is Retraction:
            found += group
        else:
            words = "".join(piece.text for piece in group if not isinstance(piece, Retraction))
            found.append(Text(words) if kind is Text else Reasoning(words))
    return found


HEAD_TAGS = tags_of(*CLOSINGS, *CLOSERS, *ANSWER_OPENERS, *HARMONY_OPENERS)
DROPPED_AT_HEAD = tags_of(*CLOSERS, *ANSWER_OPENERS)


class Speech:
    """Tells the text of one answer from thinking and calls. `tools` are the names of those offered.

    Thinking in tags may begin the text. If its opening tag is missing, all text before the closing
    tag is taken back, unless the answer speaks of such tags. Calls are collected in `calls`.
    """

    def __init__(self, tools: Collection[str] = ()) -> None:
        self.calls: list[CallDelta] = []
        self._tools = tools
        self._held = ""  # what may still become a tag or a call
        self.spaces: list[str] = []  # held back behind that
        self._read: Callable[[bool], bool] = self.read_head
        self._out: list[SpeechPiece] = []
        self._drops_space = False
        self._told = Markup()
        self._may_retract = True
        self._tags = self.tags()
        # Pieces that go out as they are, if they have nothing that must be looked at.
        self._flows = False
        self._stops_flow = self._tags.first.search
        self._piece: type[Text] | type[Reasoning] = Text
        self._keep: Callable[[str], None] = self._told.add
        # Thinking.
        self._thought: list[str] = []
        self._closing = HEAD_TAGS
        self._has_thought = False
        self._is_new_thought = False
        self._is_hushed = False
        # Calls.
        self._candidate = Candidate("", ())
        self._opener = ""
        self._failed_calls = 0
        self._harmony = Harmony(tools)

    def hush(self) -> None:
        """Don't tell the thinking in tags: the server sends it in a field of its own, too."""
        self._is_hushed = True

    def add(self, text: str) -> list[SpeechPiece]:
        """Add a piece of the text and return what can be told."""
        if self._flows and not self._stops_flow(text):
            self._keep(text)
            return [self._piece(text)]
        if self._held[-1:].isspace() and text.isspace():
            # More space decides nothing. To look at all that is held for each piece of it would
            # take quadratic time.
            self.spaces.append(text)
            return []
        return self.advance(text, is_end=False)

    def finish(self) -> list[SpeechPiece]:
        """Return the rest: the text has ended."""
        pieces = self.advance("", is_end=True)
        if not self.calls and self._read == self.read_thought:
            self.calls = self.calls_in_thought()
        return pieces

    def advance(self, text: str, *, is_end: bool) -> list[SpeechPiece]:
        self._held = "".join((self._held, *self.spaces))
        self.spaces.clear()
        self._out = []
        # In slices, because each tag that is found copies what is held.
        for start in range(0, max(1, len(text)), MAX_SLICE_CHARS):
            self._held += text[start : start + MAX_SLICE_CHARS]
            while self._read(is_end):
                pass
        self._flows = not self._held and self.begin_flow()
        return joined(self._out) if len(self._out) > 1 else self._out

    def begin_flow(self) -> bool:
        """Return True if pieces can go out as they are, and note how."""
        if self._read == self.read_plain:
            self._stops_flow = self._tags.first.search
            self._piece, self._keep = Text, self._told.add
            return True
        if self._read == self.read_thought and not (self._is_new_thought or self._is_hushed):
            self._stops_flow = STOPS_THOUGHT.search
            self._piece, self._keep = Reasoning, self._thought.append
            return True
        return False

    def tags(self) -> Tags:
        """Return what can begin something else than plain text from here on."""
        return tags_of(
            *END_TOKENS,
            *(CLOSERS if self._may_retract else ()),
            *(OPENERS if self._tools else ()),
        )

    # --- The head: before the first word, and behind thinking and calls

    def read_head(self, is_end: bool) -> bool:
        text = self._held.lstrip()
        if not text:
            # Blank text, as some models write before a call, is no part of an answer.
            return False
        if opening := THINKING_OPENING.match(text):
            self.begin_thought(opening)
        elif text.lower().startswith(HARMONY_OPENERS):
            self._read = self.read_harmony
        elif closer := DROPPED_AT_HEAD.whole.match(text):
            self._held = text[closer.end() :]
            self._drops_space = True
            self.stop_retracting()
        elif not is_end and self.may_begin_something(text):
            return False
        else:
            if self._drops_space:
                self._held = text
            self._read = self.read_plain
            is_first = not self.calls and not self._told.has_text
            if self._tools and is_first and text[0] in "{[" and not self._tags.whole.match(text):
                self.begin_call(self._held[: len(self._held) - len(text)])
        return True

    def may_begin_something(self, text: str) -> bool:
        """Return True if the text may become a tag that begins thinking or a call, or ends one."""
        lower = text.lower()
        if lower in HEAD_TAGS.beginnings or lower in self._tags.beginnings:
            return True
        tag = TAG_SO_FAR.match(text)
        return tag is not None and (tag[2] is None or tag[1].lower() in THINKING_NAMES)

    def read_harmony(self, is_end: bool) -> bool:
        """Read the channels that some models divide all they write into."""
        text, self._held = self._held, ""
        for piece in self._harmony.read(text, is_end=is_end):
            if isinstance(piece, CallDelta):
                self.calls.append(piece)
            elif isinstance(piece, Reasoning):
                self.tell_thought(piece.text)
            else:
                self.tell(piece.text)
        return False

    # --- Thinking

    def begin_thought(self, opening: re.Match[str]) -> None:
        tag = opening[0].lower()
        self._closing = tags_of(CLOSINGS.get(tag) or f"</{opening[1]}>")
        self._held = self._held.lstrip()[opening.end() :]
        self._is_new_thought = True
        self._read = self.read_thought
        self.stop_retracting()

    def read_thought(self, is_end: bool) -> bool:
        text = self._held
        closing, end = self._closing.find(text, is_end=is_end)
        words = text[:end].rstrip()
        self.tell_thought(words)
        if closing:
            self._held = text[closing.end() :]
            self._thought.clear()
            self._drops_space = True
            self._read = self.read_head
            return True
        self._held = "" if is_end else text[len(words) :]
        return False

    def tell_thought(self, words: str) -> None:
        if self._is_new_thought:
            words = words.lstrip()
        if not words:
            return
        self._thought.append(words)
        if self._is_hushed:
            return
        if self._is_new_thought and self._has_thought:
            words = f"\n\n{words}"
        self._is_new_thought = False
        self._has_thought = True
        self._out.append(Reasoning(words))

    def calls_in_thought(self) -> list[CallDelta]:
        """Return the calls in thinking that never ended: models forget the closing tag."""
        text = "".join(self._thought)
        for opener in OPENERS:
            at = text.lower().find(opener.lower())
            if at < 0 or opener == FENCE:
                continue
            candidate = Candidate(opener, self._tools)
            if candidate.read(text[at:], is_end=True):
                return candidate.calls
        return []

    # --- Plain text, and what may be a tag in it

    def read_plain(self, is_end: bool) -> bool:
        text = self._held
        tag, end = self._tags.find(text, is_end=is_end)
        if not tag and text.startswith("`", end) and not self.is_line_start(text, end):
            end = len(text)
        self.tell_held(end)
        if not tag:
            return False
        self._told.look()
        if tag[0].lower() in END_TOKENS and not self._told.is_code:
            return self.read_end(tag[0], is_end)
        if self._may_retract and CLOSER.fullmatch(tag[0]):
            return self.read_unopened(tag[0], is_end)
        is_call = tag[0].lower() not in END_TOKENS and not self._told.is_code
        if is_call and (tag[0] != FENCE or self._told.is_line_blank):
            self.begin_call(tag[0])
        else:
            self.tell_held(len(tag[0]))
        return True

    def read_end(self, token: str, is_end: bool) -> bool:
        """Drop a token that ends the text. In the middle of it, it is text."""
        if self._held[len(token) :].strip():
            self.tell_held(len(token))
            return True
        if is_end:
            self._held = ""
        return False

    def is_line_start(self, text: str, at: int) -> bool:
        return text[at - 1] == "\n" if at else self._told.ends_line

    def read_unopened(self, tag: str, is_end: bool) -> bool:
        """Decide if a closing tag ends thinking, or if the answer speaks of it.

        It ends thinking if it is the first outside of code, and begins or ends its line.
        """
        behind = self._held[len(tag) :].lstrip(" \t\r")
        if self._told.is_code:
            # Thinking may speak of it, too, so the next one may still end it.
            self.tell_held(len(tag))
            return True
        is_spoken_of = bool(THINKING_OPENING.search(self._told.text))
        if not is_spoken_of and not self._told.is_line_blank:
            if not behind and not is_end:
                return False
            is_spoken_of = not behind.startswith("\n")
        self.stop_retracting()
        if is_spoken_of:
            self.tell_held(len(tag))
            return True
        self._out.append(Retraction())
        self._told = Markup()
        self._held = self._held[len(tag) :]
        self._drops_space = True
        self._has_thought = True
        self._read = self.read_head
        return True

    def stop_retracting(self) -> None:
        if self._may_retract:
            self._may_retract = False
            self._told.forget()
            self._tags = self.tags()

    def tell_held(self, length: int) -> None:
        """Tell the beginning of what was held back."""
        self.tell(self._held[:length])
        self._held = self._held[length:]

    def tell(self, text: str) -> None:
        if text:
            self._told.add(text)
            self._out.append(Text(text))

    # --- Calls

    def begin_call(self, opener: str) -> None:
        known = next((known for known in OPENERS if known.lower() == opener.lower()), opener)
        self._opener, self._candidate = opener, Candidate(known, self._tools)
        self._read = self.read_call

    def read_call(self, is_end: bool) -> bool:
        end = self._candidate.read(self._held, is_end=is_end)
        if end is None:
            return False
        if end:
            self.calls += self._candidate.calls
            self._held = self._held[end:]
            self._drops_space = True
            self._read = self.read_head
        else:
            self.tell_held(len(self._opener) or 1)
            self._read = self.read_plain
            self._failed_calls += 1
            if self._failed_calls == MAX_FAILED_CALLS:
                # Each costs 0.1 ms, and a text with so many isn't calling tools.
                self._tools = ()
                self._tags = self.tags()
        return True
