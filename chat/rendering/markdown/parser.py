"""The parser: CommonMark with tables and struck text, without HTML, and the plugins of syntax/."""

from markdown_it import MarkdownIt

from .syntax.citations import citations
from .syntax.images import images

# Without link definitions: one at the end of an answer would change blocks that are finished.
parser = (
    MarkdownIt("commonmark", {"html": False})
    .enable(["table", "strikethrough"])
    .disable(["reference", "html_block", "html_inline"])
    .use(images)
    .use(citations)
)
