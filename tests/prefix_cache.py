"""What a model server keeps of the requests that it has read, as vLLM and llama.cpp do.

A chat template writes a request as one text: the tools, then the messages. A server looks up how
many of its blocks, from the first one on, it has read before in an earlier text.
"""

import json
from collections.abc import Mapping
from typing import Any

from chat.llm.messages import BYTES_PER_TOKEN

BLOCK_TOKENS = 16
END = "<|end|>\n"


def rendered(body: Mapping[str, Any]) -> str:
    """Return a request as the text that its model reads."""
    tools = [json.dumps(tool) + "\n" for tool in body.get("tools", [])]
    return "".join([*tools, *map(_rendered, body["messages"])])


def _rendered(message: Mapping[str, Any]) -> str:
    calls = "".join(json.dumps(call) for call in message.get("tool_calls", []))
    return f"<|{message['role']}|>\n{message['content'] or ''}{calls}{END}"


class PrefixCache:
    """All that was read, in blocks: each is known by itself and those before it."""

    def __init__(self) -> None:
        self._known: set[int] = set()

    def known_tokens(self, text: str) -> int:
        """Return how many tokens at the beginning of a text were read before."""
        count = 0
        for block in _blocks_of(text):
            if block not in self._known:
                break
            count += 1
        return count * BLOCK_TOKENS

    def add(self, text: str) -> None:
        self._known.update(_blocks_of(text))


def _blocks_of(text: str) -> list[int]:
    content, size = text.encode(), BLOCK_TOKENS * BYTES_PER_TOKEN
    blocks: list[int] = []
    for start in range(0, len(content) - size + 1, size):
        blocks.append(hash((blocks[-1] if blocks else 0, content[start : start + size])))
    return blocks


def tokens_of(text: str) -> int:
    return len(text.encode()) // BYTES_PER_TOKEN
