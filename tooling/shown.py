"""What a model reads of a tool's output: passages under the numbers of their sources."""

from collections.abc import Sequence
from dataclasses import dataclass

from .calls import Excerpt, Source
from .parts import part_of
from .registry import Tool
from .results import Output, Passage
from .schema import Arguments
from .untrusted import cut, fenced, visible

TITLE_ROOM = 300  # for the line above a passage


@dataclass(frozen=True, slots=True)
class Shown:
    """The text of a result, and where it has which source."""

    text: str
    excerpts: tuple[Excerpt, ...]


def shown(
    tool: Tool,
    output: Output,
    numbered: Sequence[tuple[Source, Passage]],
    arguments: Arguments,
    *,
    max_chars: int,
    mark: str,
) -> Shown:
    """Return what the model reads in at most `max_chars` characters, and the fence around them.

    `mark` is what no author of text from outside knows.
    """
    # Cut before the text is cleaned, which takes time in proportion: a page may have megabytes.
    own = output.text[: max_chars * 2]
    if tool.in_parts and not numbered:
        own = part_of(output.text, int(arguments["part"]), max_chars, tool=tool.name)
    own = visible(own)
    room = max(0, max_chars - len(own))
    share = room // len(numbered) if numbered else 0
    parts = [own.replace(mark, "")] if own else []
    excerpts: list[Excerpt] = []
    for source, passage in numbered:
        if tool.in_parts:
            number = int(arguments["part"])
            text = part_of(passage.text, number, share - TITLE_ROOM, tool=tool.name)
            words = cited(source, text)
        else:
            words = cut(cited(source, passage.text[: share * 2]), share)
        parts.append(words.replace(mark, ""))
        # Without words of its own, a page is only named.
        if passage.text.strip():
            end = len("\n\n".join(parts))
            begins = end - len(parts[-1]) + len(f"[{source.number}] ")
            excerpts.append(Excerpt(source.number, begins, end))
    text = cut("\n\n".join(parts) or "Nothing was found.", max_chars)
    if not tool.untrusted:
        return Shown(text, kept(excerpts, len(text), 0))
    whole = fenced(text, about=tool.name, mark=mark)
    return Shown(whole, kept(excerpts, len(text), whole.index("\n") + 1))


def kept(excerpts: Sequence[Excerpt], length: int, offset: int) -> tuple[Excerpt, ...]:
    """Return the excerpts of a text that was cut at this length and has an offset now."""
    return tuple(
        Excerpt(each.number, each.start + offset, min(each.end, length) + offset)
        for each in excerpts
        if each.start < length
    )


def cited(source: Source, text: str) -> str:
    """Return a passage under the number that the model cites it by."""
    where = ", ".join(filter(None, (source.host, source.published)))
    title = f"{source.title} ({where})" if where else source.title
    return f"[{source.number}] {title}\n{visible(text).strip()}"
