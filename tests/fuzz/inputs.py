"""Values that parsers stumble over, chosen by a seed."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

DEEP = 200_000  # levels of nested JSON; far more than any stack has
TEXTS = (
    *("", " ", "0", "-1", "1", "true", "null", "None", "NaN", "Infinity", "1e999", "9" * 30),
    *("\0", "a\0b", "\ud800", "\udfff", "\ufeff", "\u202e", "😀", "é", "²", "٣", "１", "ß", "İ"),
    *("%", "%zz", "%00", "%ff", "%C0%80", "%ED%A0%80", "%2e%2e%2f", "+", "&", "=", ";", "a=b&a=c"),
    *("http://[::1", "http://[", "//", "///x", "http://a:99999/", "http://a:b/", "javascript:x"),
    *("[::1]", "[::1", "::", "1.2.3.4.5", "999.1.1.1", "fe80::1%eth0", "127.0.0.1:x", "a" * 300),
    *(
        "../../etc/passwd",
        "/etc/passwd",
        "/",
        ".",
        "..",
        "C:\\",
        "Europe/../UTC",
        "UTC",
        "de",
        "xx",
    ),
    *("{", "}", "[]", "{}", '"', "'", "<script>", "{{ x }}", "{% x %}", "%s", "%(x)s", "{0}", "\\"),
    *("2024-02-30", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2024-01-01T00:00"),
    *("1" * 5000, "a" * 20_000, "\r\n", "a\r\nSet-Cookie: x=y", "\t", "\x7f", "\x1b[31m"),
    *("__class__", "-", "--", "*", "id__in", "pk", "9223372036854775808", "1.5", "0x10", "1_0"),
    "00000000-0000-0000-0000-000000000000",
    "00000000-0000-0000-0000-00000000000g",
    "{00000000-0000-0000-0000-000000000000}",
)
CHARACTERS = "aZ09 .,:;-_/\\|%&=+?#@!\"'`<>[]{}()\0\t\r\n\x7f\x80\xff\ud800\u0301\u202eé中😀"


class Choice(random.Random):
    """Random values; the same seed gives the same ones."""

    def text(self) -> str:
        match self.randrange(4):
            case 0 | 1:
                return self.choice(TEXTS)
            case 2:
                return "".join(self.choices(CHARACTERS, k=self.randrange(1, 40)))
        return self.choice(TEXTS) + self.choice(TEXTS)

    def raw(self) -> bytes:
        """Return a value of a header: text as bytes, which need not be UTF-8."""
        if self.random() < 0.2:
            return self.randbytes(self.randrange(20)).translate(None, b"\r\n\0")
        # A server takes no line ends and no NUL in a header.
        text = self.text().translate(dict.fromkeys(map(ord, "\r\n\0")))
        return text.encode("utf-8", "surrogatepass")[:8000].strip()

    def json(self, depth: int = 0) -> Any:
        match self.randrange(9 if depth < 4 else 6):
            case 0 | 1:
                return self.text()
            case 2:
                return self.choice((0, -1, 1, 2**31, 2**53, 2**63, 10**30, 1.5, -0.0, 1e308))
            case 3 | 4:
                return self.choice((None, True, False))
            case 5:
                return self.choice(([], {}))
            case 6:
                return [self.json(depth + 1) for _ in range(self.randrange(4))]
        return {self.text(): self.json(depth + 1) for _ in range(self.randrange(4))}

    def nested(self) -> str:
        """Return JSON that is nested deeply, closed or not."""
        depth = self.choice((20, 200, 900, 1100, 5000, DEEP))
        opening, closing = self.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")))
        return opening * depth + self.choice(("1" + closing * depth, ""))

    def mangled(self, text: str) -> str:
        """Return the text with a piece removed, repeated, replaced or moved."""
        if not text:
            return self.text()
        start = self.randrange(len(text))
        end = min(len(text), start + self.randrange(1, 12))
        piece = self.choice(("", text[start:end] * 2, self.text(), text[start:end][::-1]))
        return text[:start] + piece + text[end:]

    def frame(self, fields: Mapping[str, Callable[[], Any]]) -> str:
        """Return a frame with some of these fields, of which some are wrong."""
        if self.random() < 0.05:
            return self.nested()
        value: Any = {name: valid() for name, valid in fields.items() if self.random() < 0.6}
        for name in list(value):
            if self.random() < 0.25:
                value[name] = self.json()
        if self.random() < 0.2:
            value[self.text()] = self.json()
        if self.random() < 0.1:
            value = self.json()
        text = json.dumps(value)
        if self.random() < 0.05:
            text = text.replace("null", self.nested()).replace("true", self.nested())
        return self.mangled(text) if self.random() < 0.3 else text

    def some(self, values: Sequence[str], most: int) -> list[str]:
        return [self.choice(values) for _ in range(self.randrange(most + 1))]
