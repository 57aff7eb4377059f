"""Fenced code in items and quotes, in colours once its end is there."""

from markdown_it import MarkdownIt
from markdown_it.token import Token

from chat.rendering.markdown.code.colours import coloured, plain
from chat.rendering.markdown.code.languages import language_of


def fences(md: MarkdownIt) -> None:
    md.add_render_rule("fence", render_fence)


def render_fence(_renderer: object, tokens: list[Token], index: int, *_rest: object) -> str:
    token = tokens[index]
    language, code = language_of(token.info), token.content
    first, end = token.map or (0, 0)
    # Until its last line is there, the code is rendered again with each line.
    is_closed = code.endswith("\n") and end - first == code.count("\n") + 2
    lines = coloured(code, language) if is_closed else plain(code)
    return f'<pre><code class="language-{language}">{"\n".join(lines)}</code></pre>\n'
