"""How servers word their complaints: patterns for code, type and words, in lower case, by lines.

Each server words the same complaint differently, so a pattern looks for what wordings share.
Repeats are bounded: the text is from outside, and may be long.
"""

import re


def pattern(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives))


WRONG_KEY = pattern(
    r"\b(?:invalid|incorrect|wrong|missing|expired|revoked|unknown|malformed|bad)[\w -]{0,30}"
    r"(?:(?:api|access|subscription|virtual)[ _-]?(?:key|token)|credential)",
    r"(?:api|access|subscription|virtual)[ _-]?(?:key|token)s?\b[\w '-]{0,30}"
    r"\b(?:invalid|incorrect|wrong|missing|expired|revoked|required|not valid|not found|not set"
    r"|malformed|disabled|not provided)",
    r"(?:no|provide an?|need an?|without an?|pass a valid|provide your) (?:valid )?api[ _-]?key",
    r"invalid[_ ]?(?:authentication|token|auth)\b|api_?key_invalid|invalid_?api_?key",
    r"unauthenticated|unauthori[sz]ed\b|authentication[ _]?(?:error|failed|fails|required)",
    r"(?:invalid|missing) (?:authentication|security) token",
    r"no (?:auth )?credentials|authorization header|token (?:is |has )?(?:been )?expired",
    # LiteLLM without a database knows its master key only, and looks for all others there.
    r"no_db_connection|no connected db",
)
# Also with a status that otherwise means a wrong key.
MODEL_FORBIDDEN = pattern(r"model_access_denied|access (?:to )?(?:the |this )?model")
FORBIDDEN = pattern(
    r"permission|forbidden|access ?denied|not authori[sz]ed|not entitled|not allowed to|no access",
    r"(?:not|n't) have access|unsupported_country|not available in your",
    r"(?:country|region|territory|location)[\w, ]{0,40}(?:not|un)[ -]?(?:support|availab|allow)",
)
NO_CREDIT = pattern(
    r"insufficient[ _-]?(?:\w+[ _-]){0,2}(?:quota|balance|credit|fund)|\bbilling\b|\bbalance\b",
    r"\bcredits?\b|payment[ _]?required|\barrear|\boverdue\b|top.?up\b|\brecharge\b|余额|欠费",
    r"exceeded[ _](?:your[ _])?(?:current|monthly|total)[ _](?:quota|spend|usage)",
    r"budget[ _](?:has been |was |is )?(?:exceeded|reached)|exceeded (?:\w+ ){0,3}budget",
    r"spend\w*(?: limit)? (?:has been |was |is )?(?:exceeded|reached)",
    r"(?:quota|tier)\b[\w ]{0,24} (?:exhausted|used up)|out of (?:credit|fund|quota)",
    r"(?:reached|over|exceeded) (?:your |the )?(?:\w+ ){0,3}usage limit",
)
RATE_LIMITED = pattern(
    r"rate[ _-]?limit|too[ _-]?many[ _-]?(?:\w+[ _])?requests|toomanyrequests|throttl|slow down",
    r"(?:tokens?|requests?|calls?|images?|quota)[ _]?(?:per|/)[ _]?(?:min|sec|day|hour|month)",
    r"\b[rt]p[mds]\b|resource_?exhausted|resource has been exhausted|concurren\w+ (?:limit|quota)",
    r"quota[ _]?exceeded|exceed\w* (?:\w+ ){0,3}quota|request limit",
)
PER_TIME = pattern(r"per[ _-]?(?:min|sec|hour|day)|\b[rt]p[mds]\b")
# A single request with more tokens than a minute may have.
TOO_LARGE_FOR_RATE = pattern(r"too large.{0,160}limit:? (\d+).{0,40}requested:? (\d+)")
TOO_LONG = pattern(
    r"context[ _-]?(?:length|window|size|limit)|exceed_?context|maximum context|\bn_ctx\b",
    r"\b(?:prompt|input|messages?|request|conversation|content|context|text|query|body)\b"
    r"[\w `'\"\[\].()=:,-]{0,60}\b(?:too|very) (?:long|large|big)",
    r"too (?:long|large|big|many)\b[\w `']{0,24}"
    r"\b(?:prompt|input|messages|conversation|context|tokens)\b",
    r"(?:longer|larger|greater|more)[\w ,()]{0,24} than[\w ,'()`]{0,48}"
    r"\b(?:context|max\w*|tokens?|limit|allowed)\b",
    r"(?:exceed\w*|longer than)[\w `'\"(),:/.-]{0,60}\b(?:max(?:imum)?[ _](?:\w+[ _]){0,3}"
    r"(?:length|tokens?|input)|token[ _]?(?:limit|count)|tokens? allowed|input limit)",
    r"\b(?:tokens?|prompt|input|length)\b[\w `'\"(),:/.-]{0,60}\b(?:exceed|surpass|overflow)",
    r"maximum (?:prompt|input|sequence) length|max_prompt|max_input|max_model_len|max_seq_len",
    r"reduce (?:the |your )?(?:\w+ ){0,3}(?:length|size|prompt|input|messages|number of)",
    r"shorten (?:the |your )|range of input length|input length should|prompt[\w ]{0,20} too long",
    r"\binputs`? (?:tokens )?(?:\+|must have (?:less|at most))|max_tokens[\w ,]{0,30}got -\d",
    r"string_above_max_length|request_too_large|exceeded model token limit",
    r"(?:longer|larger) than (?:this|the) model",
)
TOO_SLOW = pattern(r"(?:took|taking|takes) too long")
# A limit on the answer. What was asked may be short.
ANSWER_LIMIT = pattern(
    r"max(?:imum)?_(?:(?:completion|new|output)_)?tokens\b[^.;]{0,60}?(?:too (?:large|big|high)"
    r"|must|should be|at most|less than|invalid|range|not (?:support|allow)|cannot|unsupported)",
    r"(?:invalid|unsupported|unknown|range of)[\w :'\"`]{0,24}max_(?:\w+_)?tokens",
    r"at most \d+ (?:completion|output) tokens",
)
INPUT_LIMIT = pattern(r"inputs`? tokens|input length and|in the messages|got -\d")
UNKNOWN_MODEL = pattern(
    r"model[ _-]?(?:is[ _-])?(?:not[ _-]?(?:found|exist\w*|available|loaded|known|served)"
    r"|decommissioned)|deployment ?not ?found|\bunknown[ _]model|invalid[ _]model\b",
    r"no such model|no models? (?:is |are )?(?:loaded|found|named)|pulling it first|load a model",
    r"\bmodels?\b[\w `'\"“”:/.@=,()<>-]{0,160}?\b(?:not found|(?:does|do|did)(?: not|n't) exist"
    r"|not a valid model|(?:is not|isn't) (?:available|valid|loaded|served|deployed|recogni[sz]ed)"
    r"|has been (?:decommissioned|deprecated|retired|removed)|no longer (?:available|supported)"
    r"|is not supported\W*$)",
    r"not a (?:valid|known|chat) model|\b(?:unrecogni[sz]ed|unsupported) model\b",
    r"(?:find|locate|know|recogni[sz]e) (?:the |a |this )?model|deployment[\w ]{0,40}not exist",
    r"no endpoints (?:found|available) for|not support chat|no allowed providers",
)
MODEL = pattern(r"\bmodels?\b|deployment|\bengine\b|no endpoints found")
WRONG_PATH = pattern(
    r"\b404 page not found|unexpected endpoint|cannot (?:post|get) /|invalid url|no route",
    r"(?:unknown|unrecogni[sz]ed) (?:request )?(?:url|endpoint|path|route)|path not found",
    r"(?:route|endpoint)\b[\w ':/.]{0,60} not found|method not allowed|no static resource",
)
# A refusal of a parameter or of what it asks for.
REFUSED_CODES = pattern(
    r"unsupported_?(?:parameter|param|value)|unknown_(?:parameter|field)|extra_forbidden"
    r"|unrecognized_|endpoints found that support|must alternate"
)
REFUSED_PART = pattern(
    r"(?:unsupported|unrecogni[sz]ed|unknown|unexpected|extra|additional)"
    r" (?:request |keyword )?(?:param|arg|field|value|keyword|input|name|propert|option)",
    r"\b(?:not|\w+n't|no longer) (?:\w+ )?(?:support|permit|allow|implement)",
    r"unsupported|unimplemented",
    r"cannot be used with|only supports?\b|requires? --|not compatible|incompatible with",
)
FILTERED = pattern(
    r"content[ _-]?(?:filter|policy|management|moderat\w*|exists risk|violation)",
    r"responsible_?ai|\bmoderation\b|\bflagged\b|data_?inspection|inappropriate|\bsafety\b",
    r"guardrail|prohibited|violat\w* [\w' ]{0,40}(?:polic|guideline|terms)|usage polic",
    r"sensitive (?:content|word|info)|\bunsafe\b|(?:prompt|input|request) (?:was |is )?blocked",
)
OVERLOADED = pattern(
    r"overload|\b(?:no|any) (?:available|healthy) \w+|\bno \w+ (?:is |are )?available\b",
    r"\bcapacity\b|queue[\w ]{0,16} full|\bfull queue|(?:too|server is|currently|is) busy",
    r"high (?:demand|load|traffic)|no healthy|no slots?\b|insufficient resources",
)
LOADING = pattern(
    r"(?:is|are|still|currently|being|be|model|server) (?:\w+ )?(?:loading|loaded now)\b",
    r"\bloading (?:the )?model|model_loading|being loaded|warming[ -]up|cold start|starting up",
    r"(?:is|still|currently) (?:starting|initiali[sz]ing|being (?:deployed|started|downloaded))",
    r"(?:model|server|deployment)[\w ]{0,20} not (?:yet )?ready|notready",
)
FAILED_TO_LOAD = pattern(
    r"(?:fail|error|unable|cannot|could not|couldn't)\w*[ :'\"]+(?:\w+[ :'\"]+){0,3}load"
)
MAINTENANCE = pattern(r"maintenance|scheduled downtime|temporarily (?:offline|shut ?down)")
# Of an error without a status.
TEMPORARY = pattern(
    r"server[ _]?error|\binternal|time[d]?[ _-]?out|temporar|unavailable|upstream|connection",
    r"try again|\bretry\b|bad gateway|out of memory|crash",
)
