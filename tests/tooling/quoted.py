"""Answers with quotations, and how they must be judged against these sources."""

from dataclasses import dataclass

QUESTION = "Is it true that “the tower was meant to stand for twenty years”, as my teacher says?"

SOURCES = {
    1: (
        "Eiffel Tower (tower.example, 2025-03-01)\n"
        "The Eiffel Tower is a wrought-iron lattice tower in Paris.[1] It is **330 metres** tall,"
        " about the same height as an 81-storey building.[2][a] Its base is square, measuring 125"
        " metres on each side. Gustave Eiffel said: “Can one think that because we are engineers,"
        " beauty does not preoccupy us?” Locally nicknamed “La dame de fer”, it was completed in"
        " 1889 – the centennial of the French Revolution – and 5,889,000 people visited it in 2022."
        " It isn't the tallest structure any more; Dr. Smith doesn't mind."
    ),
    2: (
        "Über den Turm (turm.example)\n"
        "## Geschichte\n\nDer Turm wurde von 1887 bis 1889 errichtet. „Er ist das Wahrzeichen der"
        " Stadt“, schrieb die [Zeitung](https://zeitung.example/a_(b)) im Jahr 1900. Die Straße"
        " davor heißt heute anders.\n\n- Höhe: 330 m\n- Masse: 10.100 Tonnen\n\nDer Eintritt kostet"
        " 29,40 € für Erwachsene."
    ),
    3: (
        "埃菲尔铁塔 (tower.example.cn)\n"
        "埃菲尔铁塔是位于法国巴黎战神广场的铁制镂空塔，建成于一八八九年，"
        "得名于其设计师古斯塔夫·埃菲尔。"
    ),
    4: (
        "Minutes (minutes.example)\n"
        "The council voted 7 to 2. “We will not\u00a0paint the tower green,” said the mayor."
        " The temperature fell to -5 °C that night. The budget ｇrew by $3 million in 2024. Use the"
        " `set_colour()` function now."
    ),
    7: "",  # named, and not read
}
TEXTS = {number: text for number, text in SOURCES.items() if text}
ADDRESSES = {"https://tower.example/": 1, "https://minutes.example/": 4}


@dataclass(frozen=True)
class Case:
    """An answer, with how many of its quotations are checked and found."""

    name: str
    answer: str
    checked: int
    found: int
    unknown: tuple[int, ...] = ()


TABLE = [
    # Right
    Case("right", "It says “It is 330 metres tall, about the same height” [1].", 1, 1),
    Case("straight marks", 'It says "Its base is square" [1].', 1, 1),
    Case("citation before", "According to [1], “its base is square”.", 1, 1),
    Case("citation as subject", "[1] says that “Its base is square, measuring 125 metres”.", 1, 1),
    Case("citation inside", "The base: “Its base is square [1].”", 1, 1),
    Case("citation behind the sentence", "He wrote “its base is square.” [1] So it is.", 1, 1),
    Case("two citations", "They agree: “The council voted 7 to 2” [1][4].", 1, 1),
    Case("two in brackets", "They agree: “The council voted 7 to 2” [1, 4].", 1, 1),
    Case("two quotations", "“Its base is square” [1], but “The council voted” [4].", 2, 2),
    Case(
        "one citation for two", "“Its base is square” and “330 metres tall” stand there [1].", 2, 2
    ),
    Case("across markup", "**“The *Eiffel Tower* is a `wrought-iron` lattice”** [1]", 1, 1),
    Case("a note of the page", "“lattice tower in Paris. It is 330 metres tall” [1]", 1, 1),
    Case("a link in the page", "„schrieb die Zeitung im Jahr 1900“ [2]", 1, 1),
    Case("white space and forms", "“We will not paint\nthe ｔower green” [4]", 1, 1),
    Case("a comma that the writer put in", "“Its base is square,” it says [1].", 1, 1),
    Case("apostrophes", "‘It isn’t the tallest structure any more’ [1]", 1, 1),
    Case("a script without spaces", "「埃菲尔铁塔是位于法国巴黎战神广场的铁制镂空塔」[3]。", 1, 1),
    Case("nested", "The mayor was clear: “We will not ‘paint’ the tower green” [4].", 1, 1),
    Case("guillemets", "« Its base is square » [1] et »Der Turm wurde von 1887« [2]", 2, 2),
    Case("single low marks", "Dort steht ‚Er ist das Wahrzeichen der Stadt‘ [2].", 1, 1),
    Case("letter case", "“[T]he council voted 7 to 2” [4]", 1, 1),
    # Shortened
    Case(
        "ellipsis",
        "“The Eiffel Tower is … about the same height as an 81-storey building” [1]",
        1,
        1,
    ),
    Case("ellipsis in brackets", "“Its base is square [...] on each side” [1]", 1, 1),
    Case("put in", "“[The tower’s] base is square, measuring 125 metres” [1]", 1, 1),
    Case("wrong order", "“on each side … Its base is square, measuring” [1]", 1, 0),
    Case("shortened without a sign", "“The Eiffel Tower is a lattice tower in Paris” [1]", 1, 0),
    # Altered, from elsewhere, invented, translated
    Case("altered by a word", "“Its base is round, measuring 125 metres” [1]", 1, 0),
    Case("altered by a figure", "“It is 303 metres tall, about the same height” [1]", 1, 0),
    Case("altered by a sign", "“The temperature fell to 5 °C that night” [4]", 1, 0),
    Case("from another source", "“The council voted 7 to 2” [1]", 1, 0),
    Case("invented", "“The tower may never be closed to the public” [1].", 1, 0),
    Case("translated", "“The tower was built from 1887 to 1889” [2]", 1, 0),
    # Blocks
    Case(
        "block of quoted words",
        "The page says [1]:\n\n> Its base is square, measuring 125\n> metres.",
        1,
        1,
    ),
    Case("speaker below", "> Its base is round, not square.\n>\n> — The page [1]", 1, 0),
    Case(
        "list that is announced",
        "It says in [4]:\n\n- “The council voted 7 to 2”\n- “paint it red at night”",
        2,
        1,
    ),
    Case("row of a table", "| what | where |\n|---|---|\n| “Its base is square” | [1] |", 1, 1),
    # No quotations of sources
    Case(
        "the person's own words",
        "You ask if “the tower was meant to stand for twenty years” [1].",
        0,
        0,
    ),
    Case(
        "code",
        'Call `say("Its base is round")` [1].\n\n```\nprint("Its base is round") [9]\n```',
        0,
        0,
    ),
    Case("unknown numbers", "“Its base is square” [9]. It is tall [1][8].", 1, 0, (8, 9)),
    Case(
        "short, or cited by nothing",
        "The “iron lady” [1]. They say “all of it is made of wood”.",
        0,
        0,
    ),
]
