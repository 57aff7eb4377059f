"""Hostile Markdown: only elements and attributes from the allow-list reach the page."""

import re
from html.parser import HTMLParser

import pytest

from chat.rendering.markdown.blocks import Blocks, render_all

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '<a href="javascript:alert(1)" id="announce" class="x" style="position:fixed">x</a>',
    '<div hx-get="/admin/" hx-trigger="load" hx-swap-oob="true" id="composer">x</div>',
    '<div data-hx-get="/logout/" data-slot="thread" data-action="stop">x</div>',
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](/admin/logout/)",
    "[x](//evil.example/)",
    '[x](http://ok.example "onmouseover=alert(1)")',
    "![alt](http://evil.example/pixel.png)",
    "[![alt](http://evil.example/p.png)](http://ok.example)",
    "![alt][ref]\n\n[ref]: http://evil.example/p.png",
    '```x" onclick="alert(1)\ncode\n```',
    '- ```py"><img src=x>\n  x\n  ```',
    "<http://ok.example/><svg onload=alert(1)>",
    "| <img src=x> | b |\n|---|---|\n| <script> | [x](javascript:1) |",
    "> <iframe src=//evil.example></iframe>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<!-- --><style>*{display:none}</style>",
    '</code></pre></div><form action="//evil.example"><input name=q>',
    '<sub id=a onclick=x>a</sub><sup class="b">b</sup><kbd style="c">c</kbd><mark id=d>',
    "<details id=x ontoggle=alert(1)>\n<summary onclick=x>s</summary>\n\n</details>",
    "<details open>\n<summary><img src=x onerror=alert(1)></summary>\n<script>\n</details>",
    "- <details open onload=x>\n  <details>\n  <summary><svg onload=x></summary>\n  </details>",
    '[a][b"><img src=x>] ![c"onload=x][b] [^a"b] [b]\n\n[b]: https://ok.example/"><img/src=x>',
    "[a] ![a]\n\n[a]: javascript:alert(1)\n[a]: data:text/html,x\n[a]: /logout/",
    "[^1] [^x]\n\n[^1]: <img src=x onerror=alert(1)>\n[^x]: [x](javascript:1) <script>",
    'https://ok.example/"onmouseover="alert(1) www.ok.example/<img> "a@b.example"onload=x',
    '![<img src=x>](https://ok.example/?a="b) ![](javascript:alert(1)) ![a](data:image/png,A)',
    "<!-- <script>alert(1)</script> --><img src=x> <!--><svg onload=x>-->",
    r"\(\href{javascript:alert(1)}{x}\) $\url{javascript:x}$ \[\style{color:red}{z}\class{x}{y}\]",
    r"$$\text{<img/src=x/onerror=x>}$$ $\text{<script>}$ \(\text{</math><svg onload=x>}\)",
    r"$\color{red\" onclick=\"x}x$ \(\color{red}x \boxed{y} \cancel{z}\) $\htmlId{composer}{x}$",
    "| $\\text{<b onclick=x>}$ |\n|---|\n| \\(</annotation><svg onload=x>\\) |",
    "\\begin{align}\n<img src=x> &= 1 \\tag{<script>}\n\\end{align}\n<img src=x>",
    '| a |\n|---|\n| `<img src=x> | b` <script> | `x" onload=x` |',
    "```markdown\n```py\n<script>\n```\n<img src=x>\n```\n<svg onload=x>",
    "<details>\n<summary>\n<img src=x onerror=x> $x$\n</summary>\n\\[\\text{<svg onload=x>}\\]",
    '_https://ok.example/"onload=x_ https://ok.example文字"onload=x <https://ok.example"onload=x>',
]


ALLOWED = {
    "a": {"href", "rel", "target", "class", "aria-label"},
    "annotation": {"encoding"},
    "button": {"type", "class", "data-copy"},
    "code": {"class", "id"},
    "details": {"open"},
    "div": {"class", "id", "dir", "tabindex"},
    "li": {"id", "class"},
    "ol": {"id", "start"},
    "pre": {"tabindex"},
    "span": {"id", "class", "role", "aria-label"},
    "sup": {"class"},
    "tbody": {"id"},
    "td": {"align"},
    "th": {"align"},
    "tr": {"id"},
    "ul": {"id"},
}


BARE = {
    "p",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "br",
    "strong",
    "em",
    "s",
    "sub",
    "kbd",
    "mark",
    "summary",
    "blockquote",
    "table",
    "thead",
    "semantics",
}


# What a formula may hold, beside the classes of chat.css that begin with "m-".
MATHML = re.compile(
    r"m(ath|row|i|n|o|s|text|space|frac|sqrt|root|style|padded|phantom|table|t[rd])"
)
SCRIPTS = re.compile(
    r"m(sub|sup|subsup|under|over|underover|multiscripts|prescripts|enclose|error)"
)
MATHML_ATTRIBUTES = {
    "tabindex",  # of displayed formulas, which scroll with the keyboard
    *("display", "displaystyle", "scriptlevel", "mathvariant", "class", "form", "fence"),
    *("separator", "stretchy", "symmetric", "largeop", "movablelimits", "accent", "accentunder"),
    *("lspace", "rspace", "minsize", "maxsize", "linethickness", "width", "height", "depth"),
    *("voffset", "notation"),
}

CLASSES = {
    *("block", "code", "code-head", "link", "table", "tail", "more"),
    *("picture", "task", "note", "note-mark", "note-number", "tex", "tex displayed"),
}


NAMED = r"language-[\w+#.-]+|[a-z]"  # the language of code, and the colours in it


class Inspector(HTMLParser):
    """Rejects every element and attribute that only a model could have written."""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if MATHML.fullmatch(tag) or SCRIPTS.fullmatch(tag):
            for name, value in attributes:
                assert name in MATHML_ATTRIBUTES, (tag, name)
                assert re.fullmatch(r"[\w .%+-]*", str(value)), (name, value)
                assert name != "class" or re.fullmatch(r"(m(enclose)?-[\w-]+ ?)+", str(value)), (
                    value
                )
            return
        assert tag in ALLOWED or tag in BARE, tag
        for name, value in attributes:
            assert name in ALLOWED.get(tag, ()), (tag, name)
            if name == "id":
                part = r"run-7-(note-\w+|b\d+(-in|-p\d+|(-p\d+)?-t\d+(-\d+)?)?)"
                assert re.fullmatch(part, str(value)), value
            if name == "href":
                assert re.match(r"(https?://|mailto:|#run-7-(note-\d+|b\d+)$)", str(value)), value
            if name == "class":
                assert value in CLASSES or re.fullmatch(NAMED, str(value)), value
            if name == "aria-label":
                assert re.fullmatch(r"Open|Done|(Back from n|N)ote \w+", str(value)), value


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_cut_anywhere_has_no_forbidden_markup(text: str) -> None:
    Inspector().feed("".join(render_all(text, "run-7")))
    for cut in range(1, len(text)):
        blocks = Blocks("run-7")
        for piece in (text[:cut], text[cut:], "\n\nend"):
            for element in blocks.feed(piece):
                Inspector().feed(element.html)
        blocks.finish()
        Inspector().feed("".join(blocks.html()))


def test_link_sends_no_referrer() -> None:
    [block] = render_all("[x](https://example.com/)", "r")
    assert 'rel="noopener noreferrer nofollow ugc"' in block
    assert 'target="_blank"' in block


def test_nothing_is_loaded_for_an_image() -> None:
    [block] = render_all("![a cat](https://example.com/cat.png)", "r")
    assert 'href="https://example.com/cat.png"' in block
    assert "<img" not in block
    assert "src=" not in block
