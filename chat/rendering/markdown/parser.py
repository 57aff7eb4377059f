"""The parser: CommonMark with tables and struck text, without HTML, and the plugins of syntax/."""

from markdown_it import MarkdownIt

from .syntax.addresses import addresses
from .syntax.bounds import bounds
from .syntax.citations import citations
from .syntax.cjk import cjk_emphasis
from .syntax.comments import comments
from .syntax.details import details
from .syntax.fences import fences
from .syntax.headings import headings
from .syntax.images import images
from .syntax.maths import maths
from .syntax.notes import notes
from .syntax.references import references
from .syntax.tags import tags
from .syntax.tasks import tasks

# Without link definitions: one at the end of an answer would change blocks that are finished. A
# line end in prose is a line break.
parser = (
    MarkdownIt("commonmark", {"html": False, "breaks": True})
    .enable(["table", "strikethrough"])
    .disable(["reference", "html_block", "html_inline"])
    .use(cjk_emphasis)
    .use(citations)
    .use(maths)
    .use(references)
    .use(notes)
    .use(tags)
    .use(comments)
    .use(addresses)
    .use(images)
    .use(headings)
    .use(fences)
    .use(tasks)
    .use(details)
    .use(bounds)
)
