"""What a server returns, as the output of a tool."""

import json
from collections.abc import Iterator

import mcp_types
import msgspec

from tooling.results import Output, Passage
from tooling.untrusted import web_host

MAX_SOURCES = 20
MAX_CHARS = 200_000  # the toolbox cuts further

type Block = mcp_types.ContentBlock


def output_of(result: mcp_types.CallToolResult) -> Output:
    """Return the texts of a result, and the pages that it names as sources."""
    blocks = result.content
    passages = [passage for block in blocks if (passage := passage_of(block))]
    texts = [text for block in blocks if (text := text_of(block)) is not None]
    if result.structured_content is not None and not is_told(result.structured_content, blocks):
        # Not a number or a key may be one that JSON doesn't have.
        texts.append(msgspec.json.encode(result.structured_content).decode())
    return Output("\n\n".join(texts)[:MAX_CHARS], tuple(passages[:MAX_SOURCES]))


def passage_of(block: Block) -> Passage | None:
    """Return a page on the web that the block names, None if it names none."""
    match block:
        case mcp_types.ResourceLink() if web_host(url := str(block.uri)):
            return Passage(block.title or block.name, url, block.description or "")
        case mcp_types.EmbeddedResource(resource=mcp_types.TextResourceContents() as page):
            if web_host(url := str(page.uri)):
                return Passage("", url, page.text[:MAX_CHARS])
    return None


def text_of(block: Block) -> str | None:
    """Return what the block says; None if it is a passage."""
    if passage_of(block):
        return None
    match block:
        case mcp_types.TextContent():
            return block.text[:MAX_CHARS]
        case mcp_types.ImageContent() | mcp_types.AudioContent():
            return f"({block.type}, {block.mime_type}, which can't be read here.)"
        case mcp_types.ResourceLink():
            about = f": {block.description}" if block.description else ""
            return f"{block.title or block.name} ({block.uri}){about}"
        case mcp_types.EmbeddedResource(resource=mcp_types.TextResourceContents() as file):
            return f"{file.uri}:\n{file.text[:MAX_CHARS]}"
        case mcp_types.EmbeddedResource():
            return f"({block.resource.uri}, a file that can't be read here.)"
    return None


def is_told(structured: object, blocks: list[Block]) -> bool:
    """Return True if the texts say the same, as servers should send it, too.

    Servers put a result that is no object into one, as its only value.
    """
    values = [*values_in(blocks)]
    told = [*values, *texts_of(blocks), values, texts_of(blocks)]
    match structured:
        case dict() if len(structured) == 1:
            [only] = structured.values()
            return structured in told or only in told
    return structured in told


def texts_of(blocks: list[Block]) -> list[str]:
    return [block.text for block in blocks if isinstance(block, mcp_types.TextContent)]


def values_in(blocks: list[Block]) -> Iterator[object]:
    for block in blocks:
        if isinstance(block, mcp_types.TextContent):
            try:
                yield json.loads(block.text[: MAX_CHARS + 1])
            except (ValueError, RecursionError):
                continue
