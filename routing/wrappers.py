"""Remove what people put around a question: greetings, politeness, thanks, false starts."""

import re


def _any(*alternatives: str) -> str:
    return f"(?:{'|'.join(alternatives)})"


_GREETING = _any(
    *(
        "hi+",
        "hello",
        "hey+",
        "hiya",
        "yo",
        "greetings",
        "good (?:morning|afternoon|evening|day)",
        r"dear \w+",
        "hallo",
        "hola",
        "bonjour",
        "salut",
    ),
    *(
        "ciao",
        "olá",
        "привет",
        "здравствуйте",
        "merhaba",
        "hej",
        "cześć",
        "buenas",
        "buongiorno",
        "guten tag",
    ),
    *(
        "um+",
        "uh+",
        "hm+",
        "so",
        "ok(?:ay)?",
        "well",
        "lol",
        "listen",
        "btw",
        "by the way",
        "sorry",
        "excuse me",
        "sorry to bother you",
    ),
    *(
        "help",
        "question",
        "(?:one )?(?:quick|last|small|short|tiny|silly|dumb|random) (?:question|one|thing)",
        "just (?:curious|wondering)",
    ),
    *("just", "simply"),
)
_ADDRESSED = _any(
    "there", "all", "again", "everyone", "team", "buddy", "friend", "bot", "assistant", "mate"
)
_PLEASE = _any(
    "please",
    "pls",
    "plz",
    "kindly",
    "bitte",
    "por favor",
    "s'il (?:te|vous) pla[iî]t",
    "per favore",
    "пожалуйста",
    "lütfen",
    "proszę",
)
_COULD_YOU = (
    "(?:could|can|would|will) (?:you|u|anyone|someone)(?: please| kindly| possibly| maybe| just"
    "| quickly| help me| help)*"
    "(?: (?:tell|remind) me)?"
)
_I_ASK = _any(
    "i(?:'m| am| was|'ve been)? (?:just )?wonder(?:ing)?",
    "i(?:'d| would) (?:really )?(?:like|love) (?:to (?:know|ask|understand)|you to)",
    "i (?:need|want|wanted) (?:to (?:know|ask)|you to)",
    *(
        "do you (?:happen to )?know",
        "(?:tell|remind) me",
        "let me know",
        "may i ask",
        "can i ask(?: you)?",
        "any (?:idea|clue)",
        "ever wondered",
    ),
    *(
        "what i would like to know is this",
        "(?:i have a )?question(?: for you)?",
        "answer (?:this|me)(?: quickly)?",
        "just answer",
        "simple question",
    ),
    *(
        "in (?:a|one|1) (?:single )?(?:word|sentence|line)",
        "briefly",
        "quickly",
        "yes or no",
        "just yes or no",
        "tl;?dr",
    ),
    "könn(?:test|ten|en) (?:du|sie) mir (?:bitte )?(?:sagen)?",
    "(?:podrías|puedes|podría) (?:decirme)?",
    "(?:peux|pouvez|pourr(?:ais|iez))[- ](?:tu|vous) (?:me dire)?",
    *("не могли бы вы", "подскажи(?:те)?", "скажи(?:те)?"),
)
_OPENER = re.compile(
    rf"\s*(?:{_GREETING}(?: {_ADDRESSED})*(?:\s*[,.!:;…-]+\s*|\s+(?=\S))|{_PLEASE}\b[\s,:]*"
    rf"|{_COULD_YOU}\s+|"
    rf"(?P<asks>{_I_ASK})\b(?: if| whether)?[\s,:…-]*)",
    re.I,
)
_THANKS = _any(
    *(
        "please(?: and thank you)?",
        "pls",
        "plz",
        "thanks?(?: you)?(?: so| very)?(?: much)?(?: a lot| a million)?(?: in advance)?",
        "thx",
        "ty",
        "cheers",
    ),
    *(
        "asap",
        "lol",
        "for a friend",
        "for school",
        "i'm in a hurry",
        "be quick",
        "just the answer(?: is fine)?",
        "no rush",
        "if you know",
    ),
    *("bitte", "danke", "gracias", "por favor", "merci", "grazie", "obrigad[oa]", "спасибо"),
)
_CLOSER = re.compile(rf"[\s,.!;(–-]*\b{_THANKS}\b[\s!.)]*$", re.I)
_TAKEN_BACK = re.compile(
    r"^.{1,160}?\b(?:(?:just |only )kidding|never ?mind(?: that)?|scratch that|or better(?: yet)?"
    r"|forget (?:it|that))\b[\s,.!:…-]*(?=\S)",
    re.I | re.S,
)


def unwrap(sentence: str) -> tuple[str, bool]:
    """Return the sentence without greetings and thanks, and True if a wrapper shows that it asks.

    A sentence of nothing else is returned whole.
    """
    start, stop, asks = 0, len(sentence), False
    for _ in range(6):
        found = _OPENER.match(sentence, start)
        if not found or found.end() == start or found.end() >= stop:
            break
        start = found.end()
        asks = asks or found["asks"] is not None
    for _ in range(3):
        closing = _CLOSER.search(sentence, max(start, stop - 60), stop)
        if not closing or closing.start() <= start:
            break
        stop = closing.start()
    return sentence[start:stop].strip() or sentence, asks


def without_what_was_taken_back(text: str) -> str:
    """Return the text without a false start: “Write a report… just kidding, what is 2 + 2?”"""
    return _TAKEN_BACK.sub("", text)
