"""What was fetched as text: its charset, and the kinds of content that can be read."""

import codecs
import re
import subprocess
import sys
from pathlib import Path

import msgspec

from tooling.results import ToolFailure
from tooling.sentences import sentence
from tooling.untrusted import visible, without_markup

from .fetching import WANTS_SIGN_IN, Fetched

PROGRAM = Path(__file__).with_name("markdown.py")
READ_TIMEOUT = 4.0  # seconds for the text of a page
MAX_TEXT_CHARS = 120_000
MAX_SIGN_IN_CHARS = 600  # of a page that asks for a password and has nothing else
IS_PDF = sentence("This is a PDF, which cannot be read here.")
NO_TEXT = sentence("This is no text that can be read (%(kind)s).")
IS_EMPTY = sentence("The page is empty.")
IS_BLANK = sentence("The page has no text without its scripts.")
TOO_HARD = sentence("The text of this page could not be found in time.")

# How browsers understand the names of charsets (https://encoding.spec.whatwg.org/#names-and-labels).
AS_BROWSERS_DO = {
    **dict.fromkeys(("iso-8859-1", "latin1", "iso8859-1", "ascii", "us-ascii"), "cp1252"),
    **dict.fromkeys(("gb2312", "gbk", "x-gbk"), "gb18030"),
    **dict.fromkeys(("shift_jis", "shift-jis", "sjis", "x-sjis"), "cp932"),
    **dict.fromkeys(("euc-kr", "ks_c_5601-1987", "ksc5601"), "cp949"),
    "iso-8859-9": "cp1254",
    "tis-620": "cp874",
    "windows-874": "cp874",
    "x-mac-roman": "mac-roman",
}
# Only these: Python knows "charsets", such as unicode_escape, that aren't any.
CHARSET = re.compile(
    r"utf-?8|utf-?16(?:-?[lb]e)?|iso-8859-\d{1,2}|windows-125\d|windows-31j|cp(?:125\d|874|932|949)"
    r"|koi8-[ru]|gb18030|big5(?:-hkscs)?|euc-(?:jp|kr)|iso-2022-jp|mac-roman|macintosh|ibm866"
)
# Their bytes may be valid UTF-8.
LOOKS_LIKE_UTF_8 = re.compile(r"utf-?16|iso-2022")
MAX_WRONG_SHARE = 0.2  # of the letters that ASCII hasn't; more are in another charset
IN_HEAD = re.compile(rb"<meta[^>]{0,400}?charset\s*=\s*[\"']?\s*([\w.:+-]{1,40})", re.I)
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
IS_HTML = re.compile(r"\s*(?:<!--.{0,500}?-->\s*)*<(?:!doctype html|html|head|body)\b", re.I | re.S)
TEXTS = re.compile(
    r"text/.+|application/(?:(?:[\w.-]+\+)?(?:json|xml|yaml)|(?:x-)?(?:javascript|ndjson))"
)


class Extracted(msgspec.Struct):
    """What is found in a page; the program `markdown` prints it."""

    title: str
    text: str
    is_cut: bool = False  # there was more
    asks_password: bool = False
    leads_to: str = ""  # the address of the page that it has opened in its place


def text_of(fetched: Fetched) -> Extracted:
    """Return what is in what was fetched, or raise ToolFailure. Takes a while."""
    kind = fetched.content_type
    if kind == "application/pdf" or fetched.body.startswith(b"%PDF-"):
        raise ToolFailure(IS_PDF)
    is_page = kind in {"text/html", "application/xhtml+xml"}
    is_unnamed = kind in {"", "application/octet-stream", "text/plain"}
    if not (is_page or is_unnamed or TEXTS.fullmatch(kind)):
        raise ToolFailure(NO_TEXT % {"kind": kind})
    written = decoded(fetched, is_page=is_page)
    if written.count("\0") > len(written) // 1000:
        raise ToolFailure(NO_TEXT % {"kind": kind or "binary"})
    if not is_page and not (kind != "text/plain" and is_unnamed and IS_HTML.match(written)):
        is_cut = fetched.is_cut or len(written) > MAX_TEXT_CHARS
        text = visible(written[:MAX_TEXT_CHARS]).strip()
        if not text:
            raise ToolFailure(IS_EMPTY)
        return Extracted("", text, is_cut)
    page = extracted(written)
    page.is_cut |= fetched.is_cut
    page.title, page.text = without_markup(page.title), visible(page.text).strip()
    host = URL_HOST.match(fetched.url)
    if page.asks_password and len(page.text) <= MAX_SIGN_IN_CHARS:
        raise ToolFailure(WANTS_SIGN_IN % {"host": host[1] if host else fetched.url})
    if not page.text and not page.leads_to:
        raise ToolFailure(IS_BLANK)
    return page


URL_HOST = re.compile(r"https?://([^/?#]+)")


def decoded(fetched: Fetched, *, is_page: bool) -> str:
    """Return a body as text: by its mark, as UTF-8 if it is that, else as its server or it says."""
    body = fetched.body
    for mark, charset in MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(charset, errors="replace")
    in_head = IN_HEAD.search(body[:4096]) if is_page else None
    said = [fetched.charset, in_head[1].decode("ascii", errors="replace") if in_head else ""]
    charsets = [named for each in said if (named := known_charset(each))]
    if charsets and LOOKS_LIKE_UTF_8.match(charsets[0]):
        return body.decode(charsets[0], errors="replace")
    # Text in another charset is hardly ever UTF-8 by chance, and many servers are wrong.
    as_utf_8 = codecs.getincrementaldecoder("utf-8")("replace")
    # The cut may be within a character.
    text = as_utf_8.decode(body, final=not fetched.is_cut)
    wrong = text.count("\ufffd")
    others = [each for each in charsets if each not in {"utf-8", "utf8"}]
    if wrong == 0 or (not others and wrong <= letters_beyond_ascii(text) * MAX_WRONG_SHARE):
        return text
    return body.decode(others[0] if others else "cp1252", errors="replace")


def letters_beyond_ascii(text: str) -> int:
    return len(text) - len(text.encode("ascii", "ignore"))


def known_charset(name: str) -> str:
    """Return the charset that a browser takes for this name; empty for one that is none."""
    name = name.strip().lower()
    name = AS_BROWSERS_DO.get(name, name)
    return name if CHARSET.fullmatch(name) else ""


def extracted(html: str) -> Extracted:
    """Return the text of a page, found by a process of its own; no page can hold it for long."""
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-I", str(PROGRAM)],
            input=html.encode(errors="replace"),
            capture_output=True,
            timeout=READ_TIMEOUT,
            # Nothing of the fleet's environment: it has keys.
            env={},
            check=True,
        )
        return msgspec.json.decode(done.stdout, type=Extracted)
    except (subprocess.SubprocessError, msgspec.DecodeError) as exc:
        raise ToolFailure(TOO_HARD) from exc
