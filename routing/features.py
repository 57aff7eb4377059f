# ruff: noqa: E501
"""Text, and what the person asked before, as numbers and n-grams: what the classifier weighs.

Wrappers are taken off first, so that politeness does not count; then the asks are found, so that a long story around one question reads
like the question. Only the head and the tail of a long text are read, which bounds the time.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log1p

from routing.lexicon import CONCEPTS, STEM_LENGTHS, STEMS, UNSPACED, WORDS

HEAD, TAIL = 1200, 400
CONTEXT_TURNS = 3
CORE = 320

_SPACED = r"[^\W\d_]+(?:['’\-][^\W\d_]+)*"
_TOKEN = re.compile(rf"{_SPACED}|\d+(?:[.,:/]\d+)*|[^\w\s]")
_UNSPACED_SCRIPT = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_UNSPACED = re.compile("|".join(sorted(map(re.escape, UNSPACED), key=len, reverse=True)))
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|(?<=[。？！؟])|\n+|:\s+")
_ITEM = re.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.)]|\(?[a-h]\))\s+", re.M)
_CODE = re.compile(
    r"```|^\s*(?:def |class |import |from \w+ import|#include|public |function |const |let |var |select .* from|<\w+>|<\?php)|[{};]\s*$|=>|==|\w\(\)",
    re.M | re.I,
)
_QUOTED = re.compile(r"\"([^\"\n]{2,400})\"|“([^”]{2,400})”|«([^»]{2,400})»|「([^」]{2,400})」|(?<!\w)'([^'\n]{2,200})'(?!\w)")
_CAPITALS = re.compile(r"(?<![.!?:\n\"“] )(?<!^)\b[A-Z][\w'’.&-]*(?:\s+(?:of|the|and|de|von|van|&)\s+(?=[A-Z])|\s+(?=[A-Z]))?")
_NAME = re.compile(r"\b[A-ZÀ-ÞА-Я][\w'’&-]*(?:(?:\s+(?:of the|of|the|de|von|van))?\s+[A-ZÀ-ÞА-Я][\w'’&-]*)*")
_YEAR = re.compile(r"\b(?:1[5-9]|20)\d\d\b")
_ARITHMETIC = re.compile(r"[\d)]\s*[-+*/×x÷^%=]\s*[\d(]", re.I)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_AND_ASK = re.compile(
    r"(?:,|;|\band\b|\bthen\b|\balso\b|\bplus\b|&)\s+(?:then |also |please |finally |to )*"
    r"(?:what|who|when|where|why|how|which|whether|if|write|draft|make|create|compare|explain|describe|give|list|show|tell|suggest|plan|find|"
    r"build|add|include|discuss|analy[sz]e|summari[sz]e|recommend|provide|design|propose|cite|set up|point out|justify|argue|rank|translate)\b",
    re.I,
)
_POSSESSIVE = re.compile(r"\w['’]s?\s+\w")
_OF_CHAIN = re.compile(r"\bof\b[^.?!]{1,50}\b(?:of|that|which|who|whose|where)\b", re.I)
_RELATIVE = re.compile(
    r"\b[a-z]{3,}\b\s*,?\s+(?:that|who|which|whose|whom|where|in which|for which|of which)\s+(?:is|was|were|are|has|had|did|also|the|a|\w+ed|\w+s|\w+)\b",
    re.I,
)
_PARTICIPLE = re.compile(
    r"\b(?:born|founded|directed|written|starring|featuring|played|based|located|known|named|released|produced|invented|created|won|published|composed)\b",
    re.I,
)
_HOW_TO = re.compile(r"\bhow (?:to|do i|can i|do you|would i|could i|should i|would you|do we|can we|does one)\b", re.I)
_YES_NO = re.compile(r"^(?:is|are|was|were|do|does|did|can|could|will|would|has|have|had|should)\b", re.I)
_BOTH = re.compile(
    r"\b(?:both|same|either|neither|respectively|which (?:one )?(?:is|was|of|has|had|film|magazine|band|documentary)\b[^?]*\bor\b|\w+ or \w+\?|(?:more|er) than|vs\.?|versus|difference between)\b",
    re.I,
)
_WORDS_WANTED = re.compile(
    r"\b(?:\d+|a|an|one|two|three|four|five|six|seven|ten|twelve)[- ](?:\w+[- ])?(?:words?|paragraphs?|pages?|days?|weeks?|months?|steps?|examples?|ideas?|lines?|stanzas?|points?|tips|reasons|ways|questions)\b",
    re.I,
)
_SHORT_ANSWER = re.compile(
    r"\b(?:in (?:a|one|1) (?:word|sentence|line)|just (?:the|a|tell|yes)|yes or no|one word|briefly|short answer|tl;?dr|quick question|only the)\b",
    re.I,
)
_WANTED = re.compile(
    r"\b(?:in (?:detail|depth)|step[- ]by[- ]step|pros and cons|from scratch|business plan|in the style|act as|you are an?|i want you|the following|given (?:text|the|article|code|a)|such as|as well as|based on|make sure)\b",
    re.I,
)

_OPENER = re.compile(
    r"\s*(?:(?:hi+|hello|hey+|hiya|yo|greetings|good (?:morning|afternoon|evening|day)|um+|uh+|hm+|so|ok(?:ay)?|well|lol|help|question|"
    r"(?:one )?(?:quick|last|small|short|tiny|silly|dumb|random) (?:question|one|thing)|sorry|excuse me|sorry to bother you|just (?:curious|wondering)|just|simply|listen|btw|by the way|"
    r"hallo|hola|bonjour|salut|ciao|olá|привет|здравствуйте|merhaba|hej|cześć|buenas|buongiorno|guten tag|dear \w+)"
    r"(?: there| all| again| everyone| team| buddy| friend| bot| assistant| mate)*(?:\s*[,.!:;…-]+\s*|\s+(?=\S))|"
    r"(?:please|pls|plz|kindly|bitte|por favor|s'il (?:te|vous) pla[iî]t|per favore|пожалуйста|lütfen|proszę)\b[\s,:]*|"
    r"(?:could|can|would|will) (?:you|u|anyone|someone)(?: please| kindly| possibly| maybe| just| quickly| help me| help)*(?: (?:tell|remind) me)?\s+|"
    r"(?P<asks>i(?:'m| am| was|'ve been)? (?:just )?wonder(?:ing)?|i(?:'d| would) (?:really )?(?:like|love) (?:to (?:know|ask|understand)|you to)|i (?:need|want|wanted) (?:to (?:know|ask)|you to)|"
    r"do you (?:happen to )?know|(?:tell|remind) me|let me know|may i ask|can i ask(?: you)?|any (?:idea|clue)|ever wondered|what i would like to know is this|"
    r"just answer|in (?:a|one|1) (?:single )?(?:word|sentence|line)|briefly|quickly|yes or no|just yes or no|tl;?dr|simple question|(?:i have a )?question(?: for you)?|answer (?:this|me)(?: quickly)?|"
    r"könn(?:test|ten|en) (?:du|sie) mir (?:bitte )?(?:sagen)?|(?:podrías|puedes|podría) (?:decirme)?|(?:peux|pouvez|pourr(?:ais|iez))[- ](?:tu|vous) (?:me dire)?|"
    r"не могли бы вы|подскажи(?:те)?|скажи(?:те)?)\b(?: if| whether)?[\s,:…-]*)",
    re.I,
)
_CLOSER = re.compile(
    r"[\s,.!;(–-]*\b(?:please(?: and thank you)?|pls|plz|thanks?(?: you)?(?: so| very)?(?: much)?(?: a lot| a million)?(?: in advance)?|thx|ty|cheers|asap|lol|for a friend|for school|"
    r"i'm in a hurry|be quick|just the answer(?: is fine)?|no rush|if you know|bitte|danke|gracias|por favor|merci|grazie|obrigad[oa]|спасибо)\b[\s!.)]*$",
    re.I,
)
_NO_ASK = re.compile(
    r"^(?:no need|don'?t|do not|please don'?t|i (?:don'?t|do not) (?:need|want)|i hope|hope you|thanks?|thank you|sorry|no (?:plan|essay|report)|without|not (?:a|an)|just the answer|be quick|my |i'm |i am |we're |we are )",
    re.I,
)

_ASKING = frozenset({"what", "who", "when", "where", "which", "why", "how", "aux"})
_ORDERING = frozenset({"make", "build", "plan", "study", "explain", "give", "rework", "small", "tell", "role"})
_HEAVY = ("make", "build", "plan", "study", "explain", "rework", "role")
_FOLLOWUP = re.compile(
    r"^(?:and|but|or|what about|how about|what if|now|then|also|ok(?:ay)?,? now|so|why|und|et|y|e|и|а|ve|en|och|og|a co|y qué|et pour|那|それでは|では)\b|\b(?:instead|again|too|as well|your (?:previous |last |first |second )?(?:answer|response|example|reply)|the (?:previous|above|first|second|third|last) \w+)\b",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text says about the answer that it needs."""

    core: str
    grams: tuple[str, ...]
    named: Mapping[str, float]


def read(text: str, context: Sequence[str] = ()) -> Reading:
    """The text as n-grams and named numbers; context is what the same person asked before, oldest first."""
    whole = normalise(text)
    asks = list(find_asks(whole))
    core = " ".join(" ".join(ask for ask, _ in asks).split())[:CORE]
    named = _measure(whole, core, asks)
    earlier = normalise(context[-1]) if context else ""
    named |= _measure_context(core, earlier, len(context))
    return Reading(core, tuple(_grams(whole, core, earlier)), named)


def normalise(text: str) -> str:
    """One form for the many ways to type the same: NFKC, no control or invisible characters, single spaces, bounded length."""
    if len(text) > HEAD + TAIL:
        text = f"{text[:HEAD]}\n{text[-TAIL:]}"
    text = unicodedata.normalize("NFKC", text)[: HEAD + 2 * TAIL].replace("’", "'").replace("‘", "'")
    if not text.isprintable():
        text = "".join(
            char if char.isprintable() else "\n" if char in "\n\r\u2028\u2029" else " " if char.isspace() else "" for char in text
        )
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def unwrap(sentence: str) -> tuple[str, bool]:
    """The sentence without greetings and thanks (the whole of it, if nothing else is there), and whether a wrapper said that it asks."""
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


def find_asks(whole: str) -> Iterator[tuple[str, bool]]:
    """The sentences that want something, unwrapped, and whether each is put as a question; all sentences, if none does."""
    sentences = [unwrap(part) for part in _SENTENCE.split(whole) if part and not part.isspace()]
    found = False
    for sentence, asks in sentences[:24]:
        is_question = sentence.rstrip("\"')”» ").endswith(("?", "？", "؟"))
        if is_question or (not _NO_ASK.match(sentence) and (asks or _is_order(sentence))):
            found = True
            yield sentence, is_question
    if not found and sentences:
        yield unwrap(whole)[0], False


def _is_order(sentence: str) -> bool:
    head = [token.lower() for token in _TOKEN.findall(sentence[:60])[:2]]
    if not head:
        return False
    if _UNSPACED_SCRIPT.search(sentence):
        return bool(_UNSPACED.search(sentence))
    return bool(_ASKING.union(_ORDERING).intersection(concepts_of(head[0])))


def concepts_of(word: str) -> tuple[str, ...]:
    """What a word, in lower case, stands for in the lexicon."""
    if (known := WORDS.get(word)) is not None:
        return known
    for length in STEM_LENGTHS:
        if length <= len(word) and (known := STEMS.get(word[:length])) is not None:
            return known
    return ()


def tokens_of(text: str) -> list[str]:
    """Words in lower case, numbers and signs."""
    return _TOKEN.findall(text.lower())


def _count_concepts(text: str, tokens: Sequence[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for token in tokens:
        counts.update(concepts_of(token))
    if _UNSPACED_SCRIPT.search(text):
        counts.update(UNSPACED[entry] for entry in _UNSPACED.findall(text))
    return counts


def _size(text: str, tokens: Sequence[str]) -> float:
    """Words; in scripts without spaces two characters count as one."""
    unspaced = len(_UNSPACED_SCRIPT.findall(text))
    return sum(token[0].isalnum() for token in tokens) + unspaced / 2


def _measure(whole: str, core: str, asks: Sequence[tuple[str, bool]]) -> dict[str, float]:
    tokens, core_tokens = tokens_of(whole), tokens_of(core)
    concepts, core_concepts = _count_concepts(whole, tokens[:160]), _count_concepts(core, core_tokens)
    first = concepts_of(core_tokens[0]) if core_tokens else ()
    size, core_size = _size(whole, tokens), _size(core, core_tokens)
    names = [name for name in _NAME.findall(core) if len(name) > 1]
    quoted = ["".join(groups) for groups in _QUOTED.findall(whole)]
    lines = whole.count("\n") + 1
    letters = sum(char.isalpha() for char in whole) or 1
    orders = sum(not is_question for _, is_question in asks)
    questions = sum(is_question for _, is_question in asks)
    longest = max((len(ask) for ask, _ in asks), default=0)
    named = {
        "size": log1p(size),
        "core_size": log1p(core_size),
        "wrapping": log1p(size) - log1p(core_size),
        "asks": float(orders + questions),
        "orders": float(orders),
        "questions": float(questions),
        "longest_ask": log1p(longest),
        "joined_asks": float(len(_AND_ASK.findall(core))),
        "lines": log1p(lines - 1),
        "items": log1p(len(_ITEM.findall(whole))),
        "code": log1p(len(_CODE.findall(whole))),
        "quoted": float(len(quoted)),
        "quoted_size": log1p(sum(map(len, quoted))),
        "commas": float(core.count(",") + core.count("、") + core.count("，")),
        "ands": float(core_tokens.count("and")),
        "ors": float(core_tokens.count("or")),
        "numbers": log1p(len(_NUMBER.findall(whole))),
        "arithmetic": float(bool(_ARITHMETIC.search(whole))),
        "years": float(len(_YEAR.findall(core))),
        "names": float(len(names)),
        "name_words": float(sum(name.count(" ") + 1 for name in names)),
        "possessives": float(len(_POSSESSIVE.findall(core))),
        "ofs": float(core_tokens.count("of")),
        "of_chain": float(bool(_OF_CHAIN.search(core))),
        "relatives": float(len(_RELATIVE.findall(core))),
        "participles": float(len(_PARTICIPLE.findall(core))),
        "how_to": float(bool(_HOW_TO.search(core))),
        "yes_no": float(bool(_YES_NO.match(core))),
        "both": float(bool(_BOTH.search(core))),
        "words_wanted": float(bool(_WORDS_WANTED.search(core))),
        "short_answer": float(bool(_SHORT_ANSWER.search(whole))),
        "wanted": float(len(_WANTED.findall(whole))),
        "lower": float(core == core.lower()),
        "foreign": sum(char.isalpha() and char > "\u024f" for char in core) / (len(core) or 1),
        "accents": sum("\u00c0" <= char <= "\u024f" for char in core) / (len(core) or 1),
        "signs": 1 - letters / (len(whole.replace(" ", "")) or 1),
        "word_length": sum(map(len, core_tokens)) / (len(core_tokens) or 1),
        "ends_asking": float(whole.endswith(("?", "？", "؟"))),
        "heavy": float(sum(core_concepts[concept] for concept in _HEAVY)),
    }
    named |= {f"core:{concept}": float(min(core_concepts[concept], 4)) for concept in CONCEPTS}
    named |= {f"first:{concept}": float(concept in first) for concept in (*_ASKING, *_ORDERING)}
    named |= {
        f"all:{concept}": float(min(concepts[concept], 6))
        for concept in ("make", "build", "plan", "study", "document", "software", "depth", "must", "me")
    }
    return named


def _measure_context(core: str, earlier: str, turns: int) -> dict[str, float]:
    if not earlier:
        return {"turns": 0.0, "follows": 0.0, "refers": 0.0, "bare": 0.0}
    tokens = tokens_of(core)
    refers = sum("refer" in concepts_of(token) for token in tokens)
    verbs = any(_ORDERING.intersection(concepts_of(token)) for token in tokens)
    return {
        "turns": float(min(turns, CONTEXT_TURNS)),
        "follows": float(bool(_FOLLOWUP.search(core))),
        "refers": float(min(refers, 3)),
        "bare": float(not verbs and len(tokens) < 9),
    }


def _grams(whole: str, core: str, earlier: str) -> Iterator[str]:
    """Each n-gram once: words of the whole, pairs and pieces of the core, its skeleton of known words, the beginning of a follow-up."""
    seen: dict[str, None] = {}
    words = ["0" if token[0].isdigit() else token for token in tokens_of(whole)[:160]]
    kernel = ["^", *("0" if token[0].isdigit() else token for token in tokens_of(core)[:60]), "$"]
    seen.update((word, None) for word in words)
    seen.update((f"{left} {right}", None) for left, right in pairwise(kernel))
    seen.update((f"{left} {middle} {right}", None) for left, middle, right in zip(kernel, kernel[1:], kernel[2:], strict=False))
    for word in kernel[1:-1]:
        padded = f"<{word}>"
        for width in (3, 4, 5):
            seen.update((f"#{padded[at : at + width]}", None) for at in range(len(padded) - width + 1))
    if _UNSPACED_SCRIPT.search(core):
        run = core[:120]
        seen.update((f"#{run[at : at + width]}", None) for width in (1, 2, 3) for at in range(len(run) - width + 1))
    if earlier:
        seen.update((f"~{word}", None) for word in kernel[:6])
    yield from seen
