"""The line that is being written, in pieces of which only the last one changes."""

from dataclasses import dataclass, field

from .elements import Element
from .formulas import cut_outside_formulas, decided, without_formulas
from .lines import UNDECIDED
from .syntax.bounds import MAX_PARSED
from .syntax.details import MAYBE_TAG
from .words import inline_html, is_balanced, is_plain, plain_html, settled, simple_html

PIECE_CHARS = 60  # characters of a line that are rendered again with each delta
MAX_PIECE_CHARS = 320  # of a piece that waits for the end of a link or emphasis
MAX_OPEN_CHARS = 1000  # of a piece that waits for the end of a formula
MAX_BRACKETS = 16  # in a piece that is parsed
MAX_ASTERISKS = 32  # in a piece that is parsed


@dataclass(slots=True)
class Tail:
    """The words of the line that is being written, in pieces of which only the last one changes.

    A line may be as long as an answer. With pieces, a delta costs at most two of them.
    """

    id: str
    lead: str  # what stands before the words
    is_verbatim: bool  # words are shown as they are: code
    start: int = 0  # where the last piece begins in the words
    pieces: list[str] = field(default_factory=lambda: [""])

    def write(self, words: str) -> list[Element]:
        """Render the line's words so far; return the pieces that changed."""
        first = len(self.pieces) - 1
        while (end := self.piece_end(words)) > self.start:
            self.pieces[-1] = self.html_of(words[self.start : end])
            self.pieces.append("")
            self.start = end
        rest = words[self.start :]
        is_first = not (self.is_verbatim or self.start)
        if is_first and (UNDECIDED.match(rest) or MAYBE_TAG.match(rest)):
            # A nested line begins, and may still become an item, a heading or a tag of details.
            self.pieces[-1] = ""
        elif self.is_verbatim or is_plain(rest):
            self.pieces[-1] = plain_html(rest)
        else:
            self.pieces[-1] = self.html_of(settled(decided(rest)))
        return [self.piece(index) for index in range(first, len(self.pieces))]

    def element(self, slot: str) -> Element:
        inner = "".join(self.piece(index).html for index in range(len(self.pieces)))
        return Element("span", self.id, slot, ' class="tail"', inner)

    def piece(self, index: int) -> Element:
        return Element("span", f"{self.id}-{index}", self.id, "", self.pieces[index])

    def piece_end(self, words: str) -> int:
        """Return where the last piece may end for good; its start if it must stay open."""
        length = len(words) - self.start
        if length <= PIECE_CHARS:
            return self.start
        most = min(length, MAX_PIECE_CHARS)
        # What is open at one place may begin behind an earlier one, or end before a later one.
        for limit in (PIECE_CHARS, PIECE_CHARS // 2, most // 2, most):
            end = self.cut(words, limit)
            if self.is_verbatim or is_balanced(words[self.start : end]):
                return end
        # The line is rendered as a whole when it is complete: that repairs what is cut here.
        return end if length > MAX_PIECE_CHARS else self.start

    def cut(self, words: str, limit: int) -> int:
        """Return the end of the last word in so many characters of the last piece."""
        end = words.rfind(" ", self.start, self.start + limit) + 1 or self.start + limit
        if not self.is_verbatim and len(words) - self.start <= MAX_OPEN_CHARS:
            end = self.start + cut_outside_formulas(words[self.start :], end - self.start)
        return end

    def html_of(self, words: str) -> str:
        html = plain_html(words) if self.is_verbatim else simple_html(words)
        if html is not None:
            return html
        # Many open brackets or asterisks are no prose, and looking for their ends is quadratic.
        marks, _ = without_formulas(words)
        is_prose = marks.count("[") <= MAX_BRACKETS and marks.count("*") <= MAX_ASTERISKS
        return inline_html(words) if is_prose and self.start < MAX_PARSED else plain_html(words)
