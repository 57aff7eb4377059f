"""GGUF files with nothing but a header."""

import struct
from collections.abc import Mapping
from pathlib import Path

type Value = int | float | str | list[str]

CHAT: dict[str, Value] = {
    "general.architecture": "qwen35",
    "tokenizer.ggml.tokens": ["a", "b", "cd"],
    "qwen35.context_length": 40_960,
    "general.sampling.temp": 0.25,
    "tokenizer.chat_template": "{{ messages }}",
}


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def typed(value: Value) -> bytes:
    match value:
        case int():
            return struct.pack("<II", 4, value)
        case float():
            return struct.pack("<If", 6, value)
        case str():
            return struct.pack("<I", 8) + text(value)
        case list():
            return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))


def write_gguf(path: Path, values: Mapping[str, Value] = CHAT) -> Path:
    header = b"GGUF" + struct.pack("<IQQ", 3, 0, len(values))
    path.write_bytes(header + b"".join(text(name) + typed(each) for name, each in values.items()))
    return path
