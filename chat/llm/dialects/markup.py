"""What the text of an answer is in the middle of: a line, or code."""

import re

TICKS = re.compile(r"`+")
FENCE_LINE = re.compile(r" {0,3}(```|~~~)")
MAX_HEAD_CHARS = 8  # of a line, enough to see if it begins or ends a fence


class Markup:
    """The text that was told, read as Markdown when a place in it matters."""

    def __init__(self) -> None:
        self._unread: list[str] = []
        self._read: list[str] | None = []  # None if the text isn't needed any more
        self._is_empty = True
        self._fence = ""
        self._ticks = 0  # of the code span that is open
        self._head = ""  # the beginning of the current line
        self._run = 0  # ticks at the end of what was read, which more may follow

    def add(self, text: str) -> None:
        self._unread.append(text)

    @property
    def has_text(self) -> bool:
        return bool(self._unread) or not self._is_empty

    @property
    def text(self) -> str:
        return "".join(self._read or ())

    @property
    def is_code(self) -> bool:
        return bool(self._fence or self.ticks_behind(self._run))

    @property
    def is_line_blank(self) -> bool:
        return not self._head.strip() and not self._run

    @property
    def ends_line(self) -> bool:
        """Return True if the next character begins a line."""
        return self._unread[-1].endswith("\n") if self._unread else not (self._head or self._run)

    def forget(self) -> None:
        """Keep no more of the text than where it ends."""
        self._read = None

    def look(self) -> None:
        """Read what was added."""
        text = "".join(self._unread)
        self._unread.clear()
        self._is_empty = self._is_empty and not text
        if self._read is not None and text:
            self._read.append(text)
        read = text.rstrip("`")
        if read:
            for number, line in enumerate(f"{'`' * self._run}{read}".split("\n")):
                if number:
                    self.end_line()
                self.read_in_line(line)
            self._run = 0
        self._run += len(text) - len(read)

    def read_in_line(self, part: str) -> None:
        if len(self._head) < MAX_HEAD_CHARS:
            self._head += part[:MAX_HEAD_CHARS]
        if self._fence:
            return
        for run in TICKS.findall(part):
            self._ticks = self.ticks_behind(len(run))

    def ticks_behind(self, run: int) -> int:
        """Return the ticks of the code span that is open behind a run of ticks."""
        if not self._ticks:
            return run
        return 0 if self._ticks == run else self._ticks

    def end_line(self) -> None:
        mark = FENCE_LINE.match(self._head)
        if not self._fence:
            self._fence = mark[1] if mark else ""
        elif mark and mark[1] == self._fence:
            self._fence = ""
        self._head = ""
        self._ticks = 0
