"""Pages as they are written, with what a reader of each wants and doesn't want."""

from dataclasses import dataclass
from html import escape

TOP = """<header class="site-header"><a href="/">{name}</a><nav><ul>
<li><a href="/a">Home section</a></li><li><a href="/b">Products menu</a></li>
<li><a href="/c">Contact menu</a></li></ul></nav></header>
<div id="cookie-banner" role="dialog"><p>We use cookies to improve your experience.</p>
<button>Accept all cookies</button></div>"""
END = """<footer><p>All rights reserved by {name}.</p><ul><li><a href="/imprint">Imprint link</a>
</li><li><a href="/privacy">Privacy link</a></li></ul></footer>"""
NOISE = (
    "Products menu",
    "Contact menu",
    "Accept all cookies",
    "All rights reserved",
    "Privacy link",
)
SENTENCE = (
    "The harbour of Port Ellery was dredged in spring, and the larger ferries have called there"
    " since, which the town had asked for during nineteen years."
)


@dataclass(frozen=True)
class Written:
    """A page. `has` and `lacks` are pieces of its text as Markdown."""

    name: str
    html: str
    title: str
    has: tuple[str, ...]
    lacks: tuple[str, ...] = NOISE


def page(name: str, body: str, *, title: str, lang: str = "en", head: str = "") -> str:
    return (
        f'<!doctype html><html lang="{lang}"><head><meta charset="utf-8"><title>{escape(title)}'
        f"</title>{head}<style>.a{{color:red}}</style><script>var tracking = 1;</script></head>"
        f"<body>{TOP.format(name=name)}{body}{END.format(name=name)}"
        "<script>window.after = 2;</script></body></html>"
    )


def paragraphs(*texts: str) -> str:
    return "".join(f"<p>{text}</p>" for text in texts)


ARTICLE = Written(
    "news",
    page(
        "Ellery Post",
        "<main><article><h1>Ferries return to Port Ellery</h1>"
        '<div class="byline">By Ada Brook, <time datetime="2026-11-02">2 November 2026</time></div>'
        + paragraphs(
            SENTENCE,
            "The council voted <strong>seven to two</strong> for the new timetable, with four"
            " crossings a day in summer and two in winter.",
        )
        + '<aside class="related"><h3>More on this</h3><ul><li><a href="/1">Ferry prices rise'
        ' again</a></li><li><a href="/2">Old pier closes</a></li></ul></aside>'
        + "<h2>What it costs</h2>"
        + paragraphs(
            "A crossing is 14 crowns for adults and 6 crowns for children. Bicycles are carried"
            " without charge, as the ferry company announced on Monday evening.",
        )
        + '</article></main><section class="comments"><h2>Comments</h2><div class="comment">'
        "<p>First! Great news for everybody, I say.</p></div></section>"
        '<div class="newsletter"><p>Sign up for our newsletter today.</p></div>',
        title="Ferries return to Port Ellery - Ellery Post",
    ),
    "Ferries return to Port Ellery",
    (
        "dredged in spring",
        "seven to two",
        "## What it costs",
        "14 crowns for adults",
        "Bicycles are carried",
    ),
    (*NOISE, "Ferry prices rise again", "newsletter today", "tracking"),
)
MANUAL = Written(
    "manual",
    page(
        "Gearbox docs",
        '<div class="layout"><nav class="toc"><ul><li><a href="#i">Installing entry</a></li><li>'
        '<a href="#u">Using entry</a></li></ul></nav><div class="content" role="main">'
        '<h1>Gearbox 3<a class="headerlink" href="#g">¶</a></h1>'
        + paragraphs("Gearbox turns folders into archives and keeps their permissions.")
        + "<h2>Installing</h2><pre><code class='language-sh'>pip install gearbox\n"
        "gearbox --version    # prints 3.1</code></pre>"
        "<h2>Options</h2><table><thead><tr><th>Option</th><th>Meaning</th></tr></thead><tbody><tr>"
        "<td><code>--level</code></td><td>from 1 to 9</td></tr><tr><td><code>--jobs</code></td><td>"
        "threads that pack</td></tr></tbody></table>"
        "<h3>Steps</h3><ol><li>Choose a folder.</li><li>Run <code>gearbox pack</code>.</li></ol>"
        "<ul><li>Links are followed.<ul><li>Unless they leave the folder.</li></ul></li><li>Sockets"
        " are skipped.</li></ul></div></div>",
        title="Gearbox 3 — Gearbox docs",
    ),
    "Gearbox 3",
    (
        "## Installing",
        "```sh\npip install gearbox\ngearbox --version    # prints 3.1\n```",
        "| Option | Meaning |",
        "| `--level` | from 1 to 9 |",
        "1. Choose a folder.",
        "2. Run `gearbox pack`.",
        "- Links are followed.",
        "  - Unless they leave the folder.",
        "- Sockets are skipped.",
    ),
    (*NOISE, "Installing entry", "¶"),
)
LEXICON = Written(
    "lexicon",
    page(
        "Freelexicon",
        '<div id="content" class="mw-body" role="main"><h1 id="firstHeading">Lake Orrin</h1>'
        '<div id="mw-content-text"><table class="infobox"><tr><th>Area</th><td>41 km²</td></tr><tr>'
        "<th>Depth</th><td>93 m</td></tr></table>"
        + paragraphs(
            "<b>Lake Orrin</b> is the second largest lake of the Tarn valley."
            '<sup class="reference"><a href="#c1">[1]</a></sup> It freezes in most winters.',
            "Its outflow, the river Sill, was dammed in 1921.",
        )
        + '<h2>Fauna <span class="mw-editsection">[<a href="/e">edit</a>]</span></h2><ul>'
        "<li>Char, since at least 1780</li><li>Pike</li></ul></div></div>"
        '<div id="mw-panel"><ul><li><a href="/r">Random article</a></li></ul></div>',
        title="Lake Orrin - Freelexicon",
    ),
    "Lake Orrin",
    (
        "second largest lake",
        "| Area | 41 km² |",
        "dammed in 1921",
        "## Fauna",
        "- Char, since at least 1780",
    ),
    (*NOISE, "Random article", "edit]"),
)
THREAD = Written(
    "thread",
    page(
        "Fixers board",
        '<div class="thread"><h1>Kettle trips the fuse</h1>'
        + "".join(
            f'<div class="post"><div class="author"><a href="/u/{who}">{who}</a></div>'
            f'<div class="post-body"><p>{text}</p></div></div>'
            for who, text in (
                ("mona", "My kettle trips the fuse whenever it is filled above the line."),
                ("otto", "Water reaches the switch then. Dry it, and seal the lid."),
                ("mona", "That was it, thank you. The seal had a crack."),
            )
        )
        + "</div>",
        title="Kettle trips the fuse | Fixers board",
    ),
    "Kettle trips the fuse",
    ("trips the fuse whenever", "Dry it, and seal the lid", "The seal had a crack"),
)
GERMAN = Written(
    "amt",
    page(
        "Stadt Neuental",
        '<div class="breadcrumb"><a href="/">Start</a> &gt; <a href="/s">Service</a></div>'
        "<main><h1>Reisepass beantragen</h1>"
        + paragraphs(
            "Den Reisepass beantragst du persönlich im Bürgerbüro. Er kostet 70 Euro, für Menschen"
            " unter 24 Jahren 37,50 Euro.",
        )
        + "<h2>Was du mitbringst</h2><ul><li>ein biometrisches Foto</li><li>deinen alten Pass</li>"
        "</ul><dl><dt>Dauer</dt><dd>sechs Wochen</dd><dt>Öffnungszeiten</dt><dd>Mo–Fr 8–12 Uhr</dd>"
        "</dl></main>",
        title="Reisepass beantragen · Stadt Neuental",
        lang="de",
    ),
    "Reisepass beantragen",
    (
        "Er kostet 70 Euro",
        "## Was du mitbringst",
        "- ein biometrisches Foto",
        "sechs Wochen",
        "Mo–Fr 8–12 Uhr",
    ),
)
PRODUCT = Written(
    "product",
    page(
        "Lampenladen",
        '<div class="product"><h1>Lamp Halo 2</h1><div class="price">129.00 €</div>'
        '<div class="desc">A desk lamp of brushed aluminium with a warm light of 2700 kelvin.</div>'
        "<table><tr><td>Weight</td><td>1.4 kg</td></tr><tr>"
        "<td>Cable</td><td>1.8 m</td></tr></table>"
        '<button>Add to cart</button></div><div class="recommendations"><h2>Others bought</h2>'
        + "".join(f'<div><a href="/p/{n}">Lamp Other {n}</a></div>' for n in range(8))
        + "</div>",
        title="Lamp Halo 2",
    ),
    "Lamp Halo 2",
    ("129.00 €", "warm light of 2700 kelvin", "| Weight | 1.4 kg |"),
)
OLD = Written(
    "old",
    "<html><head><title>Club of Kite Fliers</title></head><body bgcolor=white><table width=100%>"
    "<tr><td width=150><a href=a.html>Home</a><br><a href=b.html>Photos</a></td><td><font size=5>"
    "<b>Club of Kite Fliers</b></font><p>We meet on the first Sunday of each month at the dunes."
    "<p>The next festival is on <i>4 June</i>, from ten o'clock. Bring a spare line, since the wind"
    " at the dunes has cut many of them.</td></tr></table></body></html>",
    "Club of Kite Fliers",
    ("first Sunday of each month", "*4 June*", "Bring a spare line"),
    ("bgcolor",),
)
INDEX = Written(
    "index",
    page(
        "Daily Orrin",
        "<main><h1>Today</h1>"
        + "".join(
            f'<article><h2><a href="/n/{n}">{text}</a></h2><p>{lead}</p></article>'
            for n, (text, lead) in enumerate(
                (
                    ("Bridge opens", "The bridge at Sill opened after two years."),
                    ("School gets a garden", "Pupils planted forty apple trees."),
                    ("Snow expected", "Half a metre is forecast for Thursday."),
                )
            )
        )
        + "</main>",
        title="Daily Orrin",
    ),
    "Daily Orrin",
    ("Bridge opens", "forty apple trees", "forecast for Thursday"),
)
RECIPE = Written(
    "recipe",
    page(
        "Spoon",
        '<div class="wrapper"><div class="post-content entry-content"><h1>Rye pancakes</h1>'
        + paragraphs("My grandmother fried these on Sundays, in a pan that was older than she was.")
        + "<h2>Ingredients</h2><ul><li>200 g rye flour</li><li>3 eggs</li><li>400 ml milk</li></ul>"
        "<h2>Method</h2><ol><li>Whisk eggs and milk.</li><li>Stir in the flour and wait 20 minutes."
        '</li><li>Fry in butter.</li></ol></div><div class="sidebar widget"><h3>About me</h3><p>I'
        ' cook and write in the north.</p></div><div class="share"><a href="/s">Share on a network'
        "</a></div></div>",
        title="Rye pancakes – Spoon",
    ),
    "Rye pancakes",
    (
        "My grandmother fried",
        "- 200 g rye flour",
        "3. Fry in butter.",
        "2. Stir in the flour and wait 20 minutes.",
    ),
    (*NOISE, "Share on a network"),
)
QUOTES = Written(
    "quotes",
    page(
        "Essays",
        "<article><h1>On brevity</h1><blockquote><p>Short words are best.</p></blockquote>"
        + paragraphs(
            "So said a minister, who wrote <em>long</em> books. The line is quoted often, because"
            " it does what it asks for.",
            "First line of a poem<br>second line of a poem",
        )
        + "<figure><img src='x.png' alt='A portrait of the minister'><figcaption>The minister in"
        " 1910</figcaption></figure><h4>Notes</h4><p>See <a href='/b?x=1'>the archive</a>.</p>"
        "<p hidden>Hidden instruction one.</p><p style='display: none'>Hidden instruction two.</p>"
        "<p aria-hidden='true'>Hidden instruction three.</p><noscript>Enable scripts.</noscript>"
        "<template><p>Hidden template.</p></template></article>",
        title="On brevity",
    ),
    "On brevity",
    (
        "> Short words are best.",
        "*long* books",
        "First line of a poem  \nsecond line of a poem",
        "The minister in 1910",
        "the archive",
    ),
    (*NOISE, "Hidden instruction", "Hidden template", "Enable scripts"),
)
PAGES = (ARTICLE, MANUAL, LEXICON, THREAD, GERMAN, PRODUCT, OLD, INDEX, RECIPE, QUOTES)
