"""Find the events in the bytes of a response body, by what the bytes say of themselves.

Servers label streams as documents and documents as streams, so headers are not consulted. A body
may be server-sent events, JSON lines, a JSON document on one line or on many, or a mix of these.
"""

from collections.abc import Callable

MAX_EVENT_BYTES = 4 * 1024 * 1024  # Bytes of one event, and of one line.
MAX_BEGINNING_BYTES = 1000  # Bytes of a body that are kept to describe it.
MAX_UNKNOWN_BYTES = 64 * 1024  # Bytes of unknown lines that may precede the first event.
BOM = b"\xef\xbb\xbf"
BLANK = b" \t\r\n"
NO_ERRORS = (b"", b"null", b"none", b"{}", b"[]", b"false", b'""')


class NotAnAnswer(Exception):
    """The body is markup, plain text or broken JSON. `beginning` is how it begins."""

    def __init__(self, beginning: str) -> None:
        super().__init__(beginning)
        self.beginning = beginning


class TooLarge(Exception):
    """An event or a line exceeds MAX_EVENT_BYTES."""


class Lines:
    r"""Split bytes into lines, which end with LF, CRLF or CR.

    `bytes.splitlines` does this for one piece, but a CRLF may be cut between two pieces.
    `str.splitlines` also splits at characters such as U+2028, which JSON doesn't have to escape.
    """

    def __init__(self) -> None:
        # A bytearray, because adding to bytes copies them: many small pieces of a long line would
        # take quadratic time.
        self._rest = bytearray()
        self._ends_with_cr = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` completes."""
        if self._ends_with_cr or b"\r" in data:
            data = self.with_line_feeds(data)
        lines = data.split(b"\n")
        rest = lines.pop()
        if self._rest and lines:
            lines[0] = bytes(self._rest) + lines[0]
            self._rest.clear()
        if rest:
            self._rest += rest
        if (
            len(data) > MAX_EVENT_BYTES
            or len(self._rest) > MAX_EVENT_BYTES
            or (lines and len(lines[0]) > MAX_EVENT_BYTES)
        ):
            self.check_sizes(lines)
        return lines

    def check_sizes(self, lines: list[bytes]) -> None:
        if max(map(len, [self._rest, *lines])) > MAX_EVENT_BYTES:
            raise TooLarge

    def with_line_feeds(self, data: bytes) -> bytes:
        """Return `data` with LF at the end of each line. The LF of a CRLF may come later."""
        if self._ends_with_cr and data:
            self._ends_with_cr = False
            data = data.removeprefix(b"\n")
        self._ends_with_cr = self._ends_with_cr or data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def close(self) -> bytes:
        """Return the last line, which has no end."""
        line = bytes(self._rest)
        self._rest.clear()
        return line


class EventReader:
    """Read the events of one response body.

    `take` gets the data of each event and returns False if that isn't complete JSON, so that more
    lines are added to it. `complain` gets an error that isn't JSON, or the data of an event that
    its server calls an error.
    """

    def __init__(self, take: Callable[[bytes], bool], complain: Callable[[bytes], None]) -> None:
        self.is_done = False  # The server sent [DONE].
        self.has_events = False
        self.has_fields = False  # An event had a field name, which makes the body a stream.
        self.documents = 0  # Events that were bare JSON.
        self.beginning = b""
        self._take = take
        self._complain = complain
        self._lines = Lines()
        self._pending = bytearray()  # An event that isn't complete.
        self._has_lines = False  # It has more than one line.
        self._is_bare = False  # The pending event is JSON without a field name.
        self._is_open = False  # An event has begun that an empty line ends.
        self._is_error = False  # The server called the event that follows an error.
        self._unknown_bytes = 0

    def feed(self, data: bytes) -> None:
        if not self.has_events:
            self.look_at_beginning(data)
        for line in self._lines.feed(data):
            if self.is_done:
                return
            if not self._is_open and line.startswith(b"data:"):
                # The usual case, without further calls.
                if self._take(line[5:]):
                    self.has_events = self.has_fields = True
                else:
                    self.add_rare(line[5:])
            elif line or self._is_open:
                self.add_line(line)

    def look_at_beginning(self, data: bytes) -> None:
        """Keep the beginning of the body. Raise NotAnAnswer if that is markup."""
        rest = MAX_BEGINNING_BYTES - len(self.beginning)
        if rest > 0:
            self.beginning += data[:rest]
            if len(self.beginning) == MAX_BEGINNING_BYTES and self.is_markup:
                raise NotAnAnswer(self.described())

    def close(self) -> None:
        """Read the rest: the last line and event may lack their ends."""
        line = self._lines.close()
        if self.is_done:
            return
        if line:
            self.add_line(line)
        if self._pending:
            self.end_event(is_closing=True)
        if self._unknown_bytes and not self.has_events and not self.is_done:
            raise NotAnAnswer(self.described())

    @property
    def is_markup(self) -> bool:
        return self.beginning.removeprefix(BOM).lstrip(BLANK).startswith(b"<")

    def described(self, data: bytes = b"") -> str:
        """Return the beginning of `data`, or of the body, as text."""
        text = (data or self.beginning)[:MAX_BEGINNING_BYTES].decode(errors="replace")
        return text.removeprefix("\ufeff").replace("\0", "").strip()

    def add_line(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self.add_data(line[5:])
        elif not line:
            # Bare JSON may have empty lines in it.
            if not self._is_bare:
                self.end_event()
        else:
            self.add_other(line)

    def add_other(self, line: bytes) -> None:
        """Add a line that is neither data nor empty."""
        if not self.has_events:
            line = line.removeprefix(BOM)
        stripped = line.lstrip(BLANK)
        if stripped.startswith(b"data:"):
            self.add_data(stripped[5:])
            return
        if not self._pending and (looks_like_json(stripped) or is_done(stripped)):
            self.add_data(line, is_bare=True)
            return
        name, colon, value = line.partition(b":")
        match name.lower():
            case b"error" if colon and value.strip().lower() not in NO_ERRORS:
                self.note_event()
                self._complain(value.strip())
            case b"event":
                if self._is_error and self._pending:
                    self.end_event()
                self._is_error = b"error" in value.lower() or value.strip() == b"exception"
                self._is_open = self._is_open or self._is_error
            case b"" | b"id" | b"retry" | b"data" | b"error":
                pass
            case _ if self._pending:
                # Pretty-printed JSON, perhaps with the field name before its first line only.
                self.hold(line)
            case _ if stripped:
                self._unknown_bytes += len(line)
                if self._unknown_bytes > MAX_UNKNOWN_BYTES and not self.has_events:
                    raise NotAnAnswer(self.described())

    def add_data(self, data: bytes, *, is_bare: bool = False) -> None:
        if self._pending and not self._is_bare and not is_done(data):
            self.hold(data)
            return
        if self._pending:
            self.end_event()
        # Don't wait for an empty line: some servers send one line feed after each event.
        if not self._is_error and self._take(data):
            self.note_event(is_bare=is_bare)
        else:
            self.add_rare(data, is_bare=is_bare)

    def add_rare(self, data: bytes, *, is_bare: bool = False) -> None:
        """Add data that isn't complete JSON: the end, nothing, or a part of an event."""
        if is_done(data):
            self.is_done = True
        elif data.strip():
            self._is_bare = is_bare
            self.hold(data)

    def note_event(self, *, is_bare: bool = False) -> None:
        self.has_events = True
        self.has_fields = self.has_fields or not is_bare
        self.documents += is_bare

    def hold(self, data: bytes) -> None:
        """Keep a line of data until the event is complete."""
        self._is_open = True
        if self._pending:
            self._has_lines = True
            self._pending += b"\n"
        self._pending += data.removeprefix(b" ")
        if len(self._pending) > MAX_EVENT_BYTES:
            raise TooLarge

    def end_event(self, *, is_closing: bool = False) -> None:
        """Read the lines that are held as an event."""
        data = bytes(self._pending).strip()
        self._pending.clear()
        has_lines, self._has_lines = self._has_lines, False
        is_bare, self._is_bare = self._is_bare, False
        is_error, self._is_error = self._is_error, False
        self._is_open = False
        if is_error:
            self.note_event()
            self._complain(data or b"error")
        elif has_lines and self._take(data):
            self.note_event(is_bare=is_bare)
        elif looks_like_json(data):
            if not self.has_events:
                raise NotAnAnswer(self.described())
            # The connection may break within an event, and bare lines may be anything.
            if not is_closing and not is_bare:
                raise NotAnAnswer(self.described(data))
        elif speaks_of_error(data):
            self.note_event()
            self._complain(data)
        else:
            self._unknown_bytes += len(data)


def looks_like_json(data: bytes) -> bool:
    """Return True if an object or an array of objects begins here, unlike "[INFO] started"."""
    return data.startswith(b"{") or (
        data.startswith(b"[") and data[1:].lstrip(BLANK)[:1] in (b"", b"{", b"[", b"]")
    )


def is_done(data: bytes) -> bool:
    """Return True if this is the mark of the stream's end."""
    return len(data) < 20 and data.strip(b' \t"').upper() == b"[DONE]"


def speaks_of_error(data: bytes) -> bool:
    """Return True if data that isn't JSON is an error, and not a sign of life such as "ping"."""
    text = data[:MAX_BEGINNING_BYTES].lower()
    return any(word in text for word in (b"error", b"exception", b"failed", b"traceback"))
