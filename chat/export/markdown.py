"""A chat as Markdown: its shown questions with their newest answers, in a form that people read.

Words stay as they were written, but none may change what follows: questions are quoted, and what an
answer leaves open is closed behind it.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from django.utils.translation import gettext as _
from markdown_it import MarkdownIt

from chat.conversations import Conversation
from chat.models import Run
from chat.rendering.ending import SourceLink
from chat.rendering.markdown.characters import without_controls
from chat.rendering.remarks import remarks_of
from tooling.sentences import localized

from .document import sources_of
from .rows import Asked

LINE_END = re.compile(r"\r\n|\r|\n")
MARKS = re.compile(r"([\\`*_{}\[\]<>#|~$&])")
# Signs of Markdown, also those that are one only at the beginning of a line.
NOT_PLAIN = re.compile(rf"{MARKS.pattern}|^(\s|[-+=]|\d+[.)])")
# Behind these, a block of HTML that is open goes on to the end of the file.
HTML_ENDS = ("-->", "?>", "]]>", ">", "</script>", "</style>", "</pre>", "</textarea>")
PROBE = "# probe"

# Blocks are enough, and marks within lines take seconds if there are thousands.
reader = MarkdownIt("commonmark").disable("inline")


def opening(chat: Conversation) -> str:
    exported = _("Exported from AgenticFleet on %(time)s. The chat began on %(began)s.")
    times = {"time": moment(datetime.now(UTC)), "began": moment(chat.created_at)}
    return f"# {escaped(chat.title)}\n\n{exported % times}\n"


def piece(asked: Sequence[Asked]) -> str:
    return "".join(map(exchange, asked))


def exchange(asked: Asked) -> str:
    """Return a question with its newest answer."""
    heading = _("Question, %(time)s") % {"time": moment(asked.message.created_at)}
    parts = [f"## {heading}", quoted(asked.message.text)]
    if asked.answers:
        parts += answer_parts(asked.answers[-1])
    return "".join(f"\n{part}\n" for part in parts)


def answer_parts(chain: Sequence[Run]) -> list[str]:
    run = chain[-1]
    text = run.answer.text if run.recorded_ending else run.text_so_far
    links = [SourceLink.of(source) for source in sources_of(chain)] if text else []
    parts = [f"## {_('Answer')}", closed(text.strip("\r\n")), how_it_ended(run), remarks(run)]
    if links:
        parts += [f"**{_('Sources')}**", "\n".join(map(source_line, links))]
    return [part for part in parts if part]


def how_it_ended(run: Run) -> str:
    """Return a sentence on an answer that isn't complete; empty for others."""
    ending = run.recorded_ending
    match run.status:
        case "running":
            words = _("This answer was still being written.")
        case "paused":
            words = _("This answer was waiting for a person.")
        case "cancelled":
            words = _("This answer was stopped. What came before is kept.")
        case "failed":
            why = localized(ending.error.message) if ending and ending.error else ""
            words = _("This answer failed: %(why)s") % {"why": escaped(why)}
        case _:
            return ""
    return f"*{words}*"


def remarks(run: Run) -> str:
    """Return what stands below the answer before one relies on it; empty for most."""
    sentences = remarks_of(run.recorded_ending) if run.recorded_ending else ()
    return f"*{escaped(' '.join(sentences))}*" if sentences else ""


def source_line(source: SourceLink) -> str:
    title = escaped(source.title)
    # The link ends at the first of these; none is part of an address that browsers accept.
    url = re.sub(r"[<>\s]", "", source.url)
    where = [source.host, source.published.isoformat() if source.published else ""]
    words = ", ".join([f"[{title}](<{url}>)" if url else title, *filter(None, where)])
    return rf"- \[{source.number}] {words}"


# --- Words that keep to their place


def quoted(text: str) -> str:
    """Return a question as a quote; in a fence if Markdown would change how it looks."""
    lines = LINE_END.split(text.strip("\r\n"))
    if any(map(NOT_PLAIN.search, lines)):
        fence = "~" * max(3, 1 + max(map(len, re.findall("~+", text)), default=0))
        return "\n".join([f"{fence}text", *lines, fence])
    # Two blanks keep the line's end.
    return "\n".join(f"> {line.rstrip()}  " if line.strip() else ">" for line in lines).rstrip()


def closed(text: str) -> str:
    """Return an answer, with the end of a block that would take in what follows it."""
    if is_closed(text):
        return text
    tokens = reader.parse(text)
    fence = next((t.markup for t in reversed(tokens) if t.type == "fence"), "")
    ends = (fence, *HTML_ENDS) if fence else HTML_ENDS
    return next((each for end in ends if is_closed(each := f"{text}\n{end}")), quoted(text))


def is_closed(text: str) -> bool:
    """Return True if a heading behind this text is a heading of the file."""
    tokens = reader.parse(f"{text}\n\n{PROBE}")
    return len(tokens) >= 3 and tokens[-3].type == "heading_open" and tokens[-3].level == 0


def escaped(text: str) -> str:
    """Return a line of words that Markdown shows as they are."""
    return MARKS.sub(r"\\\1", without_controls(" ".join(text.split())))


def moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
