"""How figures and names are put into words for a reader."""

from chat.protocol.events import ToolResultData

from .markdown.inline import without_controls

MAX_DETAIL_CHARS = 300  # characters of a tool call that the timeline shows
MAX_NAME_CHARS = 60  # characters of a tool's name, which may be a model's invention


def duration(ms: float) -> str:
    if ms < 100:
        return f"{ms:.0f} ms"
    if ms < 10_000:
        return f"{ms / 1000:.1f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    if not minutes:
        return f"{seconds} s"
    return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def age(seconds: float) -> str:
    """How old something is, in one unit."""
    if seconds < 60:
        return f"{max(0, seconds):.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min"
    if seconds < 86_400:
        return f"{seconds // 3600:.0f} h"
    return counted(int(seconds // 86_400), "day")


def capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def shortened(text: str, most: int = MAX_DETAIL_CHARS) -> str:
    """The without_controls text in one line, cut where it is longer than that."""
    text = " ".join(without_controls(text).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def named(name: str) -> str:
    """A name as a title: of an agent, a phase or a tool."""
    return capital(shortened(name.replace("_", " "), MAX_NAME_CHARS))


def result_words(data: ToolResultData) -> str:
    """What came of a tool call, beyond that it was made; may be empty."""
    if not data.ok:
        return shortened(data.message) or "failed"
    if data.repeated:
        return "same as before"
    found = [counted(len(data.sources), "source")] if data.sources else []
    if data.cached:
        found.append(
            "from the cache" + (f", {age(data.age_s)} old" if data.age_s is not None else "")
        )
    if data.stale:
        found.append("stale: nothing newer could be had")
    return ", ".join(found)
