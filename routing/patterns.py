"""Regular expressions over a normalised text, for shapes that hint at the work it asks for."""

import re

from routing.lexicon import PIECES

# `re` does not take combining marks for letters: accents, Hebrew and Arabic points, Indic and
# Thai vowels.
_WORD = (
    "(?:[^\\W\\d_]"
    "|[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0dff\u0e31\u0e34-\u0e3a\u0e47-\u0e4e])+"
)
TOKEN = re.compile(rf"{_WORD}(?:['’\-]{_WORD})*|\d+(?:[.,:/]\d+)*|[^\w\s]")
UNSPACED_SCRIPT = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
PIECE = re.compile("|".join(sorted(map(re.escape, PIECES), key=len, reverse=True)))

# Parts of a text.
SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|(?<=[。？！؟])|:\s+")
LIST_ITEM = re.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.)]|\(?[a-h]\))\s+", re.M)
CODE = re.compile(
    r"```|^\s*(?:def |class |import |from \w+ import|#include|public |function |const |let |var "
    r"|select .* from|<\w+>|<\?php)"
    r"|[{};]\s*$|=>|==|\w\(\)",
    re.M | re.I,
)
QUOTED = re.compile(
    r"\"([^\"\n]{2,400})\"|“([^”]{2,400})”|«([^»]{2,400})»|「([^」]{2,400})」"
    r"|(?<!\w)'([^'\n]{2,200})'(?!\w)"
)

# Things named.
NAME = re.compile(
    r"\b[A-ZÀ-ÞА-Я][\w'’&-]*(?:(?:\s+(?:of the|of|the|de|von|van))?\s+[A-ZÀ-ÞА-Я][\w'’&-]*)*"
)
YEAR = re.compile(r"\b(?:1[5-9]|20)\d\d\b")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
ARITHMETIC = re.compile(r"[\d)]\s*[-+*/×x÷^%=]\s*[\d(]", re.I)

# The form of a question.
HOW_TO = re.compile(
    r"\bhow (?:to|do i|can i|do you|would i|could i|should i|would you|do we|can we|does one)\b",
    re.I,
)
WHAT_ARE = re.compile(r"^what (?:are|were|r) (?:the |some |all |your )?(?:\w+ ){0,2}\w+s\b", re.I)
YES_NO = re.compile(
    r"^(?:is|are|was|were|do|does|did|can|could|will|would|has|have|had|should)\b", re.I
)
SHORT_ANSWER = re.compile(
    r"\b(?:in (?:a|one|1) (?:word|sentence|line)|just (?:the|a|tell|yes)|yes or no|one word|briefly"
    r"|short answer|tl;?dr|quick question"
    r"|only the)\b",
    re.I,
)
NO_ASK = re.compile(
    r"^(?:no need|don'?t|do not|please don'?t|i (?:don'?t|do not) (?:need|want)|i hope|hope you"
    r"|thanks?|thank you|sorry"
    r"|no (?:plan|essay|report)|without|not (?:a|an)|just the answer|be quick|my |i'm |i am |we're "
    r"|we are )",
    re.I,
)
FOLLOWS = re.compile(
    r"^(?:and|but|or|what about|how about|what if|now|then|also|ok(?:ay)?,? now|so|why|und|et|y|e|и"
    r"|а|ve|en|och|og|a co|y qué|et pour"
    r"|那|それでは|では)\b"
    r"|\b(?:instead|again|too|as well|your (?:previous |last |first |second )?(?:answer|response"
    r"|example|reply)"
    r"|the (?:previous|above|first|second|third|last) \w+)\b",
    re.I,
)

# More than one thing wanted.
JOINED_ASK = re.compile(
    r"(?:,|;|\band\b|\bthen\b|\balso\b|\bplus\b|&)\s+(?:then |also |please |finally |to )*"
    r"(?:what|who|when|where|why|how|which|whether|if|write|draft|make|create|compare|explain"
    r"|describe|give|list|show|tell|suggest|plan"
    r"|find|build|add|include|discuss|analy[sz]e|summari[sz]e|recommend|provide|design|propose|cite"
    r"|set up|point out|justify|argue|rank"
    r"|translate)\b",
    re.I,
)
AMOUNT_WANTED = re.compile(
    r"\b(?:\d+|a|an|one|two|three|four|five|six|seven|ten|twelve)[- ](?:\w+[- ])?"
    r"(?:words?|paragraphs?|pages?|days?|weeks?|months?|steps?|examples?|ideas?|lines?|stanzas?"
    r"|points?|tips|reasons|ways|questions)\b",
    re.I,
)
CONDITION = re.compile(
    r"\b(?:in (?:detail|depth)|step[- ]by[- ]step|pros and cons|from scratch|business plan"
    r"|in the style|act as|you are an?|i want you"
    r"|the following|given (?:text|the|article|code|a)|such as|as well as|based on|make sure)\b",
    re.I,
)

# One answer needed to find the next, and things held against each other.
POSSESSIVE = re.compile(r"\w['’]s?\s+\w")
OF_CHAIN = re.compile(r"\bof\b[^.?!]{1,50}\b(?:of|that|which|who|whose|where)\b", re.I)
NESTED = re.compile(
    r"\b(?:of|by|in|from|with|to|at|for) (?:the|a|an) [^,.?!]{1,40}? (?:of|by|that|who|which|whose"
    r"|where|from|in)\b"
    r"|['’]s \w+['’]s|\b(?:of|by) \w+['’]s\b",
    re.I,
)
RELATIVE = re.compile(
    r"\b[a-z]{3,}\b\s*,?\s+(?:that|who|which|whose|whom|where|in which|for which|of which)\s+\w+\b",
    re.I,
)
PARTICIPLE = re.compile(
    r"\b(?:born|founded|directed|written|starring|featuring|played|based|located|known|named"
    r"|released|produced|invented|created|won"
    r"|published|composed)\b",
    re.I,
)
CHOICE = re.compile(
    r"\b(?:which|who|what|whose)\b.*\b(?:first|last|\w{3,}er|\w{4,}est|more|most|better|older|same"
    r"|both|longer)\b.*\bor\b"
    r"|\b(?:which|who)\b[^?]*(?:,|:)[^?]* or [^?]*\?",
    re.I,
)
TWO_THINGS = re.compile(
    r"\b(?:both|same|either|neither|respectively|which (?:one )?(?:is|was|of|has|had|film|magazine"
    r"|band|documentary)\b[^?]*\bor\b"
    r"|\w+ or \w+\?|(?:more|er) than|vs\.?|versus|difference between)\b",
    re.I,
)
