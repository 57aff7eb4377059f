"""Bare addresses as links: https://…, http://…, www.… and mail addresses.

Nothing else becomes a link: README.md, node.js and 1.2.3 look like hosts, but are names.
"""

import re

from linkify_it import LinkifyIt
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

# Text up to a character that another rule may take, or to the beginning of an address. "Possessive"
# (++) because there is never anything to gain from giving characters back.
TEXT = re.compile(r"(?:[^\n!$&*<\[\\\]_`~hHwW]++|h(?!ttps?://)|w(?!ww\.[^\W_]))++", re.IGNORECASE)
BEGINNING = re.compile(r"https?://|www\.", re.IGNORECASE)
NOT_BEFORE = "[A-Za-z0-9@./-]"  # what an address can't begin behind
# Addresses end at marks of emphasis and code, and at the punctuation of full-width scripts.
CHARACTER = r"(?:(?!\*\*|~~)[^\s<>`|\u3000-\u303f\uff00-\uffef\ufdd0-\ufdef])"
CANDIDATE = re.compile(f"{CHARACTER}+")
# A host ends before the words of a script that puts no spaces between them.
HOST = re.compile(
    r"(?:https?://)?[!$-.0->@-~]*[A-Za-z](?=[\u3040-\u9fff\uac00-\ud7af])", re.IGNORECASE
)
# Not git@example.com:path, and no versions such as package@1.2.
MAIL = re.compile(
    r"(?<![A-Za-z0-9_.+%-])[A-Za-z0-9_][A-Za-z0-9_.+%-]{0,63}"
    r"@(?:[A-Za-z0-9][A-Za-z0-9-]{0,62}\.)+[A-Za-z]{2,24}(?![A-Za-z0-9_@-]|[.:/][A-Za-z0-9_])"
)
MAX_ADDRESS_CHARS = 2000
# Marks of emphasis around an address, which would count as parts of it.
TRAILING = "*_~"

linkify = LinkifyIt(options={"fuzzy_link": False})


def addresses(md: MarkdownIt) -> None:
    md.inline.ruler.at("text", read_text)
    md.inline.ruler.after("text", "address", read_address)
    # Before "text_join", when an escaped \@ is still apart from the words around it.
    md.core.ruler.before("text_join", "mail", link_mail)


def read_text(state: StateInline, silent: bool) -> bool:
    found = TEXT.match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    if not silent:
        state.append_pending(found[0])
    state.pos = found.end()
    return True


def read_address(state: StateInline, silent: bool) -> bool:
    """Read http://…, https://… or www.… as a link."""
    if state.src[state.pos] not in "hHwW" or state.linkLevel:
        return False
    if state.pos and re.match(NOT_BEFORE, state.src[state.pos - 1]):
        return False
    words = address_at(state.src, state.pos, state.posMax)
    if not words:
        return False
    if not silent:
        state.push("link_open", "a", 1).attrs = {"href": state.md.normalizeLink(target_of(words))}
        state.push("text", "", 0).content = words
        state.push("link_close", "a", -1)
    state.pos += len(words)
    return True


def address_at(text: str, start: int, end: int) -> str:
    """Return the address that begins here, without punctuation that belongs to the sentence."""
    if not BEGINNING.match(text, start, end):
        return ""
    candidate = CANDIDATE.match(text, start, min(end, start + MAX_ADDRESS_CHARS))
    assert candidate
    words = (HOST.match(candidate[0]) or candidate)[0].rstrip(TRAILING)
    target = target_of(words)
    found = linkify.match_at_start(target)
    if found is None:
        return ""
    # As long as the target is, less what `target_of` put in front.
    length = found.last_index - (len(target) - len(words))
    return words[:length].rstrip(TRAILING)


def target_of(words: str) -> str:
    return words if "://" in words[:8] else f"http://{words}"


def link_mail(state: StateCore) -> None:
    """Link the mail addresses in the words outside of links."""
    for token in state.tokens:
        if token.children and "@" in token.content:
            token.children = [part for child in outside_links(token.children) for part in child]


def outside_links(tokens: list[Token]) -> list[list[Token]]:
    parts, depth = [], 0
    for token in tokens:
        depth += token.nesting * (token.tag == "a")
        is_text = token.type == "text" and not depth and "@" in token.content
        parts.append(with_mail(token.content) if is_text else [token])
    return parts


def with_mail(words: str) -> list[Token]:
    """Return the words as tokens, with links for the mail addresses in them."""
    tokens, end = [], 0
    for found in MAIL.finditer(words):
        tokens += [
            Token("text", "", 0, content=words[end : found.start()]),
            Token("link_open", "a", 1, attrs={"href": f"mailto:{found[0]}"}),
            Token("text", "", 0, content=found[0]),
            Token("link_close", "a", -1),
        ]
        end = found.end()
    return [*tokens, Token("text", "", 0, content=words[end:])]
