"""A second table, written when the rules were finished: answers as models write them."""

from .quoted import Case

QUESTION = "Summarise https://minutes.example/ and compare it with the press."

SOURCES = {
    1: (
        "Harbour bridge reopens (news.example, 2026-04-02)\n"
        "The harbour bridge reopened on Thursday after eleven months of repairs. “We have finished"
        " two weeks ahead of schedule, and under budget,” said Maria Lopez, the city's chief"
        " engineer. The work cost €48.5 million, about 6% less than planned. Cyclists' groups"
        " welcomed the new lanes but called them “a start, not a solution”. Trams will follow in"
        " the autumn."
    ),
    2: (
        "Council minutes (minutes.example, 2026-03-18)\n"
        "# Item 4: Bridge\n\n* Cllr **O'Brien** asked why the lanes are only 1.5 m wide.\n"
        '* The engineer replied that *"wider lanes would have required new foundations"*, see'
        " [annex B](https://minutes.example/annex-b.pdf).\n* The motion was carried, 14 votes to 9,"
        " with 2 abstentions.\n\n| Year | Cost |\n| --- | --- |\n| 2025 | €31.2 million |\n"
        "| 2026 | €17.3 million |"
    ),
    3: (
        "Stellungnahme der Feuerwehr (feuerwehr.example)\n"
        "Die Feuerwehr begrüßt die Öffnung der Brücke. „Unsere Fahrzeuge sparen im Schnitt vier"
        " Minuten“, sagte Brandmeister Jens Köhler. Bei Glätte gelte weiterhin Tempo\u00a030."
    ),
    4: (
        "Le pont rouvre (journal.example, 2026-04-03)\n"
        "« Nous attendions ce moment depuis un an », confie une commerçante du port. L’ouvrage"
        " compte désormais deux pistes cyclables."
    ),
    5: (
        "橋の再開 (shinbun.example)\n"
        "港の橋は木曜日に再開した。市長は「市民の皆さんの忍耐に感謝します」と述べた。"
    ),
    6: (
        "Comment on the bridge (blog.example)\n"
        "I don't think the bridge is worth it...  Honestly? It's a vanity project; nothing more,"
        " nothing less. The ﬁnal bill isn't in yet."
    ),
}

ADDRESSES = {"https://minutes.example/": 2}

TABLE = [
    # Right
    Case(
        "said by",
        '"We have finished two weeks ahead of schedule, and under budget," said Maria Lopez [1].',
        1,
        1,
    ),
    Case("bold quote", '**"a start, not a solution"** — so the cyclists [1].', 1, 1),
    Case(
        "curly around straight source",
        "The engineer said “wider lanes would have required new foundations” [2].",
        1,
        1,
    ),
    Case(
        "bullet with colon",
        '- **Engineer:** "wider lanes would have required new foundations" [2]\n'
        "- **Vote:** 14 to 9 [2]",
        1,
        1,
    ),
    Case(
        "german", "Die Feuerwehr lobt: „Unsere Fahrzeuge sparen im Schnitt vier Minuten“ [3].", 1, 1
    ),
    Case("french", "Une commerçante dit : « Nous attendions ce moment depuis un an » [4].", 1, 1),
    Case(
        "french in english marks",
        "A shopkeeper said “Nous attendions ce moment depuis un an” [4].",
        1,
        1,
    ),
    Case("japanese", "市長は「市民の皆さんの忍耐に感謝します」と述べた[5]。", 1, 1),
    Case("japanese in english", "The mayor said “市民の皆さんの忍耐に感謝します” [5].", 1, 1),
    Case(
        "block",
        "> We have finished two weeks ahead of schedule, and under budget\n>\n> — Maria Lopez [1]",
        1,
        1,
    ),
    Case(
        "block after words",
        "The council noted [2]:\n\n> The motion was carried, 14 votes to 9, with 2 abstentions.\n\n"
        "That was close.",
        1,
        1,
    ),
    Case("ligature", "The blog says “The final bill isn’t in yet.” [6]", 1, 1),
    Case("their dots", "It says “I don't think the bridge is worth it... Honestly?” [6]", 1, 1),
    Case(
        "link",
        "As [the minutes](https://minutes.example/) say, “with 2 abstentions” it passed.",
        1,
        1,
    ),
    Case(
        "numbered list",
        "1. Cost: “The work cost €48.5 million” [1]\n2. Vote: “The motion was carried” [2]",
        2,
        2,
    ),
    Case(
        "table",
        '| Source | Words |\n|---|---|\n| Press [1] | "Trams will follow in the autumn" |\n'
        '| Blog [6] | "It\'s a vanity project" |',
        2,
        2,
    ),
    Case(
        "quote in a quote",
        "The paper writes: “Cyclists’ groups welcomed the new lanes but called them ‘a start, not a"
        " solution’” [1].",
        1,
        1,
    ),
    Case(
        "after the full stop",
        "The bridge is open. “Trams will follow in the autumn.”[1] More is not known.",
        1,
        1,
    ),
    Case(
        "two sources at the end",
        "Both speak of repairs (“after eleven months of repairs”) [1][4].",
        1,
        1,
    ),
    Case("title", "See “Harbour bridge reopens” [1].", 1, 1),
    Case("row of their table", "The minutes list “2025 | €31.2 million” [2].", 1, 1),
    # Shortened
    Case(
        "dots in the middle",
        "“The harbour bridge reopened … after eleven months of repairs” [1]",
        1,
        1,
    ),
    Case(
        "dots across sentences",
        "“The harbour bridge reopened on Thursday [...] Trams will follow” [1]",
        1,
        1,
    ),
    Case("put in", "“[Fire engines] sparen im Schnitt vier Minuten” [3]", 1, 1),
    Case("dots at both ends", "“… said Maria Lopez, the city's chief engineer …” [1]", 1, 1),
    # Wrong
    Case("word altered", "“We have finished two months ahead of schedule” [1]", 1, 0),
    Case("not dropped", "“I think the bridge is worth it” [6]", 1, 0),
    Case("figure altered", "The work cost “€45.8 million, about 6% less” [1].", 1, 0),
    Case("words dropped", "“We have finished ahead of schedule, and under budget” [1]", 1, 0),
    Case("wrong source", "“a start, not a solution” is what the council called it [2].", 1, 0),
    Case("swapped", "“a start, not a solution” [6], and “a vanity project” [1]", 2, 0),
    Case("invented", "O'Brien said: “This is a scandal for our city” [2].", 1, 0),
    Case(
        "translated", "The fire brigade says “Our vehicles save four minutes on average” [3].", 1, 0
    ),
    Case(
        "one of two", "“Trams will follow in the autumn” [1]. “Trams will never follow” [1].", 2, 1
    ),
    Case("invented block", "> Trams are banned from the bridge.\n\n[1]", 1, 0),
    # Not judged
    Case("own words", "You asked me to “compare it with the press” [1].", 0, 0),
    Case("scare quotes", "The “new” lanes are “narrow” [2].", 0, 0),
    Case(
        "without a citation",
        "As they say, “all roads lead to the harbour”. Costs fell by 6% [1].",
        0,
        0,
    ),
    Case("code", 'Search for `"bridge reopened"` to find it [1].', 0, 0),
    Case(
        "unknown",
        "The mayor resigned [9]. “Trams will follow in the autumn” [1, 12].",
        1,
        1,
        (9, 12),
    ),
]
