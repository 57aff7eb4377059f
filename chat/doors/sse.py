"""Server-Sent Events, as the doors write them."""

# A comment ends with one LF only: after an empty line, clients that keep the last `id:` read a
# message without data.
PING = b": ping\n"
# Line ends for some clients, which would cut a message there. JSON may have them as they are.
LINE_ENDS = {end.encode(): b"\\u%04x" % ord(end) for end in "\u0085\u2028\u2029"}


def message(data: bytes, *, id: str = "", event: str = "") -> bytes:  # noqa: A002
    """Return a message with this data, which is one line, as JSON is."""
    if not data.isascii():
        for end, escaped in LINE_ENDS.items():
            data = data.replace(end, escaped)
    lines = [b"data: ", data, b"\n\n"]
    if event:
        lines[:0] = [b"event: ", event.encode(), b"\n"]
    if id:
        lines[:0] = [b"id: ", id.encode(), b"\n"]
    return b"".join(lines)


def retry(ms: int) -> bytes:
    """Return how long a reader waits until it connects again."""
    return b"retry: %d\n\n" % ms
