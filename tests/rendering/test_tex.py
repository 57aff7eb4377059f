"""Formulas: TeX as safe MathML in bounded time, or its source as code."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from html import escape, unescape

import pytest
from django.conf import settings

from chat.rendering.markdown.tex import mathml
from chat.rendering.markdown.tex.convert import MAX_SOURCE, maths, rendered

TYPICAL = r"""
E = mc^2
\sum_{\substack{0<i<m\\0<j<n}} P(i,j)
\int_0^\infty e^{-x^2}\,dx = \frac{\sqrt{\pi}}{2}
\begin{split} a &= b \\ &= c \end{split}
\begin{align} a &= b \label{eq:a} \\ c &= d \nonumber \end{align}
\begin{alignat}{2} x &= 1 &\quad y &= 2 \end{alignat}
\begin{eqnarray} a &=& b \\ c &=& d \end{eqnarray}
\begin{aligned}[t] a &= b \\[6pt] c &= d \end{aligned}
\left(\begin{smallmatrix} a & b \\ c & d \end{smallmatrix}\right)
\begin{pmatrix*}[r] -1 & 2 \end{pmatrix*}
\begin{array}{l@{\quad}r|*{2}{c}} a & b & c & d \end{array}
x = 1 \tag{1}
x = 1 \tag*{$\star$}
\require{cancel} \cancel{x} + \cancelto{0}{y}
f(x) = \begin{cases} x & \text{if $x > 0$} \\ 0 & \mbox{otherwise} \end{cases}
\text{max_value} + \text{50%} + \text{R&D}
a \dotsb b = 50%
{\color{red} x} + \color{#1a2b3c}{y} + \textcolor{ForestGreen}{z}
\ce{2H2 + O2 -> 2H2O}
\ce{SO4^2- + Ba^2+ <=>[\Delta] BaSO4 v}
\underset{\theta}{\operatorname{arg\,max}}\limits_x \abs{x} \dv{f}{x}
a = b \\ c = d
\hspace{99999cm} x \! y \hspace*{-1em} z \boxed{x} \textsc{a}
\begin{array}{|c:c|} \hline a & b \\ \hline \end{array}
\eqref{eq:one} \ref{x}
x \in [0,1) \cup (2,3] \cup [4,5) \cup (6,7] \cup [8,9) \cup (10,11] \cup [12,13) \cup (14,15]
""".strip().splitlines()
HOSTILE = [
    "{" * 100_000,
    "{" * MAX_SOURCE,
    r"\sqrt" * 800 + "x",
    r"\left(" * 600,
    "(" * MAX_SOURCE,
    "(" * 30,  # each bracket that is not closed doubles the work of math-core
    r"\{" * 30,
    "{[}" * 30,
    r"\langle a|" * 30,
    r"\begin{matrix}" * 200,
    r"\def\a{\a\a}\a",
    r"\newcommand{\a}[1]{#1#1}" + r"\a{" * 30 + "x" + "}" * 30,
    r"\ce{" + "^" * 3_000 + "}",
    r"\text{" + "$" * 3_000 + "}",
    "&" * MAX_SOURCE,
    r"\begin{array}{*{99}{" + "c" * 3_000 + r"}}x\end{array}",
    r"\href{javascript:alert(1)}{x}",
    r"\url{javascript:alert(1)}",
    r"\class{x}{y}\style{color:red}{z}\cssId{a}{b}",
    r"\htmlData{a=b}{x}\includegraphics{x}",
    r"\text{<img/src=x/onerror=alert(1)>}",
    r"\text{</math><script>alert(1)</script>}",
    r"\tag{<img src=x onerror=alert(1)>}",
    r'\color{red" onclick="x}x',
    r"\color[HTML]{FF0000;background:url(x)}x",
    r"\begin{equation}x\label{composer}\end{equation}\eqref{composer}",
    r"\unicode{x3c}\char60",
    r"</annotation><script>",
    "x \\",
    "",
]


def test_everyday_tex_is_shown_as_mathml() -> None:
    for source in TYPICAL:
        for is_display in (True, False):
            assert maths(source, is_display=is_display).startswith("<math display="), source


@pytest.mark.parametrize("source", TYPICAL + HOSTILE, ids=lambda source: source[:20])
def test_output_holds_the_source_and_nothing_that_is_not_allowed(source: str) -> None:
    for is_display in (True, False):
        html = maths(source, is_display=is_display)
        words = escape(source, quote=False)
        if html.startswith("<code"):
            assert re.fullmatch(r'<code class="tex( displayed)?">\\[\[(][^<>]*\\[\])]</code>', html)
            assert words in html
        else:
            body, annotation = html.split('<annotation encoding="application/x-tex">')
            assert annotation == f"{words}</annotation></semantics></math>"
            # A displayed formula scrolls, also with the keyboard.
            assert mathml.SAFE.fullmatch(body.replace(' tabindex="0"', "", 1))
        tags = re.findall(r"<[^>]*>", html)
        assert not re.search(
            r"\sstyle=|href|\sid=|\son\w+=|<script|<img|<maction", unescape(str(tags))
        )


def test_hostile_tex_takes_little_time_on_a_small_stack() -> None:
    times: list[float] = []

    def render_all() -> None:
        for source in HOSTILE:
            start = time.thread_time()
            rendered(source[:MAX_SOURCE], is_display=True)
            times.append(time.thread_time() - start)

    usual = threading.stack_size(1024 * 1024)
    thread = threading.Thread(target=render_all)
    thread.start()
    threading.stack_size(usual)
    thread.join()
    assert len(times) == len(HOSTILE)
    assert max(times) < 0.5


def test_formula_is_the_same_after_any_other_and_in_any_thread() -> None:
    sources = [*TYPICAL, r"\begin{align} x \end{align}", r"\R \to \foo", r"\def\foo{x}\foo"]
    first = {source: rendered(source, is_display=True) for source in sources}

    def render_again(turn: int) -> None:
        for source in sources[turn:] + sources[:turn]:
            assert rendered(source, is_display=True) == first[source]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(render_again, range(len(sources))))


def test_equations_have_no_numbers_but_those_of_the_model() -> None:
    html = maths(r"\begin{align} a &= b \tag{7} \\ c &= d \end{align}", is_display=True)
    assert re.findall(r"<mtext>([^<]*)</mtext>", html) == ["(7)"]


def test_styles_become_classes_of_a_closed_set() -> None:
    css = {*mathml.CLASSES.values(), *mathml.BACKWARDS.values()}
    sheet = (settings.BASE_DIR / "static/chat/chat.css").read_text()
    assert [name for name in css if f".{name} {{" not in sheet] == []
    for source in TYPICAL:
        for names in re.findall(r'class="([^"]*)"', maths(source, is_display=True)):
            for name in names.split():
                assert name in css or name.startswith(("menclose-", "math-core-")), source


@pytest.mark.parametrize(
    ("colour", "name"),
    [("red", "red"), ("#00f", "blue"), ("#1a7f4b", "green"), ("ForestGreen", "green")],
)
def test_colours_are_the_nearest_of_a_closed_set(colour: str, name: str) -> None:
    assert f'class="m-{name}"' in maths(rf"\textcolor{{{colour}}}{{x}} + 1", is_display=False)
    assert "m-" not in maths(r"\color{nonsense}{x}", is_display=False)


def test_lines_of_a_display_are_lines() -> None:
    assert maths(r"a = b \\ c = d", is_display=True).count("<mtr>") == 2
    assert (
        "[" not in maths(r"\begin{aligned}a\\[6pt]b\end{aligned}", is_display=True).split("<ann")[0]
    )


def test_reaction_is_set_as_chemists_do() -> None:
    html = maths(r"\ce{SO4^2-}", is_display=False)
    assert "<msubsup>" in html
    assert "<mn>4</mn>" in html
