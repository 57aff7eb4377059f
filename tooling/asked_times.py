"""The time or day that a question asks for, as arguments for the clock."""

import re
from datetime import date

from .dates import UnknownDate, date_of
from .places import place_named

MAX_QUESTION_CHARS = 300

_NOW = (
    r"(?:\W*(?:right now|now|here|hier|currently|at the moment|at present|today|please|pls|jetzt"
    r"|gerade"
    r"|maintenant|ahora|adesso))*"
)
_IN = r"(?:in|at|for|over in|a|à|au|aux|en|i|på)"
_CLOCK = re.compile(
    r"(?:(?:.*\b)?(?:what(?:'?s| is| was|s)? (?:the |my )?(?:current |local |exact "
    r"|correct )?times?(?: zone|zone)?(?: is it| it is|"
    r" is)?|what times? is it|(?:current|local) time|"
    r"tell me (?:the )?(?:current |local )?time|do you (?:have|know) (?:the time|what time it is)|"
    r"wie sp[äa]t ist es|wie viel uhr(?: ist es)?|wieviel uhr(?: ist es)?|uhrzeit"
    r"|quelle heure(?: est-il| il est| est il)?|"
    r"qu[ée] hora(?:s)?(?: es| son)?|che ora [èe]|che ore sono|que horas s[ãa]o|hoe laat is het"
    r"|vad [äa]r klockan|hva er klokken)|"
    r"(?:the )?time)"
    rf"{_NOW}(?:,? {_IN} (?P<place>[^?!]{{2,50}}?))?{_NOW}[\s?!.]*",
    re.IGNORECASE,
)
_CLOCK_AFTER = re.compile(
    r"in (?P<place>[^,?]{2,40}),? what(?:'s| is) the time[\s?!.]*"
    r"|in (?P<place2>[^,?]{2,40}),? what time is it[\s?!.]*",
    re.IGNORECASE,
)
_CJK_TIME = re.compile(
    r"(?P<place>\S{1,8}?)(?:は|现在|現在|지금|\s)*(?:今)?(?:何時|几点|幾點|몇\s?시)\S{0,6}"
)
_TIME_OF_DAY = r"(?P<time>\d{1,2}(?:[:.]\d{2})? ?(?:a\.?m\.?|p\.?m\.?|uhr)?|noon|midnight)"
_TIME = _TIME_OF_DAY
_TIME_2 = _TIME_OF_DAY.replace("<time>", "<time2>")
_BETWEEN_PLACES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"what time (?:is it|will it be|would it be) in (?P<to>[^?,]+?),? (?:when|if) (?:it'?s|"
        rf"it is) {_TIME_OF_DAY} (?:in )?(?P<place>[^?,]+)\??",
        rf"(?:when|if) (?:it'?s|it is) {_TIME_OF_DAY} (?:in )?(?P<place>[^?,]+?),? what(?:'s the|"
        rf" is the)? time is it in (?P<to>[^?,]+)\??",
        rf"(?:what(?:'s| is| time is)|convert|was ist|wie spät ist)? ?{_TIME_OF_DAY} (?:in )?"
        rf"(?P<place>[^?,]+?) (?:in|to|nach) (?P<to>[^?,]+?)(?: time)?\??",
        rf"(?:wenn es )?{_TIME_OF_DAY} in (?P<place>[^?,]+?)(?: ist)?,? (?:wie spät|wie viel uhr)"
        rf" ist"
        r" (?:es|das)(?: dann)? in (?P<to>[^?,]+)\??",
    )
]
_UNTIL = re.compile(
    r"(?:how many (?:more )?(?:days|weeks|sleeps)|how long|how much time|(?:the )?(?:number of"
    r" )?days)"
    r"(?: are there| are| is it| is there| do we have| do i have|"
    r"'s)?(?: left| remaining| to go)?(?: from (?:now|today))? (?:until|till|til|to|before)"
    r" (?P<en>.+)"
    r"|wie (?:viele (?:tage|wochen)|lange)(?: sind es| ist es| dauert es)?(?: noch)? bis(?: zum"
    r"| zu)? (?P<de>.+)"
    r"|combien de jours?(?: reste-t-il| y a-t-il| il reste)?(?: avant| jusqu'(?:à|au"
    r"|a))(?: le)? (?P<fr>.+)"
    r"|cu[áa]ntos d[íi]as (?:faltan|quedan|hay) (?:para|hasta)(?: el)? (?P<es>.+)",
    re.IGNORECASE,
)
_SINCE = re.compile(
    r"(?:how many (?:days|weeks)|how long)(?: is it| has it been| have passed| has passed"
    r"|'s it been)? since (?P<since>.+)"
    r"|how (?:long|many (?:days|weeks)) ago (?:was|is) (?P<ago>.+)"
    r"|wie (?:viele (?:tage|wochen)|lange) (?:sind |ist )?(?:es |vergangen )?(?:her )?seit(?: dem)?"
    r" (?P<seit>.+?)(?: vergangen)?"
    r"|wie (?:viele tage|lange) ist(?: der| das)? (?P<her>.+?) her",
    re.IGNORECASE,
)
_BORN = re.compile(
    r"how (?:old|many (?:days|weeks) old) (?:is|are|am|would|will) .{0,40}?(?:be .{0,20}?)?(?:if "
    r"|when )?"
    r"(?:.{0,20} )?(?:was |were |is )?born (?:on )?(?:the )?(?P<on>[^.;?!]{4,40}?)(?: be)?"
    r"(?: now| today)?"
    r"|(?:(?:i was|i'm|i am|(?:s?he|my \w+) was) born (?:on )?|my birthday is |my date of birth is"
    r" )"
    r"(?P<when>[^.;?!]{4,40}?)[.,;]? (?:so |and )?how (?:old|many (?:days|weeks) old) (?:am i|is"
    r" \w+)"
    r"(?: now| today)?"
    r"|wie alt (?:ist|bin|wäre|sind) .{0,30}?(?:am )(?P<am>.{4,40}?) geboren(?: ist| bin| wurde)?"
    r"|ich (?:bin|wurde) am (?P<ich>.{4,40}?) geboren[.,;]? (?:und )?wie alt bin ich(?: jetzt|"
    r" heute)?",
    re.IGNORECASE,
)
_WITH_YEAR = re.compile(r"\b\d{4}\b")
_MONTH = re.compile(
    r"how many days (?:are (?:there )?|does )?(?:in )?(?P<month>[a-z]{3,9} \d{4})(?: have)?"
    r"|wie viele tage hat(?: der)? (?P<monat>[a-zä]{3,9} \d{4})",
    re.IGNORECASE,
)
_REST_OF_YEAR = re.compile(
    r"how many (?:more )?days (?:are )?(?:left|remaining|remain) (?:in|of) (?:the|this) year"
    r"|wie viele tage hat das jahr noch",
    re.IGNORECASE,
)
_FROM_A_DAY = re.compile(
    r"(?:what(?:'s| is) |when is )?(?P<day>(?:\d{1,5}|an?|one|two|three) (?:day|week|month|year)s?"
    r" (?:from"
    r"|after|before|ago)\b.*)",
    re.IGNORECASE,
)
_BETWEEN_DAYS = re.compile(
    r".*\b(?:days|weeks|tage|jours|d[íi]as)\b.*?\b(?:between|from|zwischen|entre)(?: dem| le|"
    r" el)? (?P<first>.+?) (?:and|to|until|und|et|y|bis) (?P<second>.+)",
    re.IGNORECASE,
)
# Around the day of "which weekday was 24 December 2020". Other words ask what happened on it.
_TALK = (
    "what whats which when whens on is was will would be it that the day days date weekday of week"
    " s does did do fall falls land lands have we today going to a tell me this"
    " welcher welches welchem welchen an wochentag tag datum ist war wird haben hatten wir fällt"
    " fiel auf der das am es sein was für ein"
    " quel jour sera est était le qué día fecha es será fue cae el che giorno data è sarà"
    " wat welke dag vilken"
)
_DAY_TALK = frozenset(_TALK.split())
_DAY_WORDS = re.compile(
    r"\b(?:day|date|weekday|wochentag|tag|datum|jour|d[íi]a|fecha|giorno|data|dag)\b", re.IGNORECASE
)
_TODAY = re.compile(
    r"(?:.*\b)?(?:what(?:'?s| is)? (?:the )?(?:today'?s |current )?(?:date|day"
    r"|weekday)(?: of the week)?(?: is)?(?: it)?(?: today|"
    r" now)*|what(?:'?s| is) today(?:'?s date)?|"
    r"which day is it(?: today)?|today'?s date|welcher (?:wochen)?tag ist heute"
    r"|welches datum (?:ist|haben wir)(?: heute)?|"
    r"quel jour (?:sommes-nous|est-ce)(?: aujourd'hui)?|"
    r"(?:what|which) (?:year|month) (?:is it|are we in)|qu[ée] (?:d[íi]a|fecha) es(?: hoy)?"
    r"|che giorno [èe](?: oggi)?)[\s?!.]*",
    re.IGNORECASE,
)


_POLITE = re.compile(
    r"\A(?:(?:please|hey|hi|hello|ok|okay|so|(?:can|could) you (?:please )?tell me|tell me|do you"
    r" know"
    r"|kannst du mir (?:bitte )?sagen|bitte|sag mir)[,:]? )+",
    re.IGNORECASE,
)
_HOURS = re.compile(
    r"(?:how (?:many (?:hours|minutes)|long|much time)(?: is it| is there| are there| is| are)?"
    r"|hours"
    rf"|wie (?:viele (?:stunden|minuten)|lange)(?: ist es| sind es)?) (?:between|from|zwischen|von)"
    rf" {_TIME}"
    rf" (?:and|to|until|till|und|bis) {_TIME_2}",
    re.IGNORECASE,
)
_HOURS_UNTIL = re.compile(
    r"(?:how (?:many (?:hours|minutes)|long|much time)(?: is it| is there| are there| are| do i"
    r" have)?"
    rf"(?: left)? (?:until|till|til|to|before)|wie (?:lange|viele stunden)(?: ist es| sind es)?(?:"
    rf" noch)?"
    rf" bis) {_TIME}",
    re.IGNORECASE,
)
_LATER = re.compile(
    r"(?:what time|wie spät|wie viel uhr) (?:is it|will it be|was it|would it be|it will be|ist es"
    r"|war es"
    r"|wird es sein) (?P<later>(?:in |vor )?(?:\d{1,4}|an?|one|two|three|half an|einer?) (?:hours?"
    r"|minutes?"
    r"|min|stunden?|minuten?)(?: ago| from now)?)(?: in (?P<place>[^?]{2,40}))?",
    re.IGNORECASE,
)
_APART = re.compile(
    r"(?:what(?:'s| is) )?(?:the )?(?:time|hour) (?:zone )?difference (?:between|from)"
    r" (?P<place>.{2,40}?)"
    r" (?:and|to) (?P<to>.{2,40}?)"
    r"|how many hours (?:is |are )?(?:ahead|behind) (?:of )?(?:is )?(?P<to2>.{2,40}?) (?:of|from|to"
    r"|than|is)?"
    r" ?(?P<place2>.{2,40}?)"
    r"|how many hours (?:is|are) (?P<to3>.{2,40}?) (?:ahead of|behind|from) (?P<place3>.{2,40}?)"
    r"|(?:wie groß ist der |der |was ist der )?zeitunterschied zwischen (?P<place4>.{2,40}?) und"
    r" (?P<to4>.{2,40}?)",
    re.IGNORECASE,
)


def of_hours(text: str) -> dict[str, str] | None:
    """Return the times of day whose distance is asked, or how long from now a time is."""
    if match := _HOURS.fullmatch(text):
        return {"time": match["time"], "until": match["time2"]}
    if match := _HOURS_UNTIL.fullmatch(text):
        return {"time": "now", "until": match["time"]}
    if match := _LATER.fullmatch(text):
        if not match["place"]:
            return {"time": match["later"]}
        is_known = place_named(match["place"])
        return {"time": match["later"], "place": match["place"]} if is_known else None
    if match := _APART.fullmatch(text):
        for number in ("", "2", "3", "4"):
            place, to_place = match[f"place{number}"], match[f"to{number}"]
            if place and place_named(place) and place_named(to_place):
                return {"place": place, "to_place": to_place}
    return None


def arguments_in(question: str) -> dict[str, str] | None:
    """Return what to ask the clock for this question; None if it is not about a time or a day."""
    text = " ".join(question.replace("’", "'").split())
    if not text or len(text) > MAX_QUESTION_CHARS:
        return None
    text = _POLITE.sub("", re.split(r"(?<=\?)\s", text)[0])
    bare = text.rstrip("?!. ")
    return of_days(bare) or of_hours(bare) or of_places(text) or of_now(text)


def of_now(text: str) -> dict[str, str] | None:
    if _TODAY.fullmatch(text):
        return {}
    if (match := _CJK_TIME.fullmatch(text.rstrip("?？。 "))) and place_named(match["place"]):
        return {"place": match["place"]}
    if match := _CLOCK_AFTER.fullmatch(text):
        return {"place": match["place"] or match["place2"]}
    match = _CLOCK.fullmatch(text)
    if match is None:
        return named_zone(text)
    place = match["place"]
    if place is None:
        return {} if len(text.split()) <= 10 else None
    # Ask for an unknown place too: the clock's failure is the honest answer. A phrase is no place.
    return {"place": place.strip()} if place_named(place) or len(place.split()) <= 3 else None


def named_zone(text: str) -> dict[str, str] | None:
    """Return the place of a question such as "Tokyo time" or "time zone of California"."""
    if not re.search(r"\btime\b|\btime ?zone\b", text, re.IGNORECASE):
        return None
    match = re.fullmatch(
        r"(?:what(?:'s| is)? (?:the )?)?(?:time ?zone|time) (?:is|of|does)? ?(?P<of>.{2,40}?)(?: in"
        r"| use| have)?[?.! ]*|"
        r"in (?P<zone>.{2,30}?)(?: time ?zone)?,? what time is it[?.! ]*|(?:what(?:'s|"
        r" is) (?:the )?)?(?:current )?(?P<before>.{2,30}?) time(?: now| right now)?[?.! ]*",
        text,
        re.IGNORECASE,
    )
    name = (match["of"] or match["zone"] or match["before"] or "") if match else ""
    return {"place": name} if name and place_named(name) else None


def of_places(text: str) -> dict[str, str] | None:
    for pattern in _BETWEEN_PLACES:
        match = pattern.fullmatch(text.strip())
        if match and place_named(match["place"]) and place_named(match["to"]):
            return {
                "time": match["time"],
                "place": match["place"].strip(),
                "to_place": match["to"].strip(),
            }
    return None


def of_days(text: str) -> dict[str, str] | None:
    if _REST_OF_YEAR.fullmatch(text):
        return {"date": "today", "until": "31 December"}
    if day := first_group(_UNTIL.fullmatch(text)):
        return {"date": "today", "until": day} if is_date(day) else None
    if day := first_group(_SINCE.fullmatch(text)):
        return {"date": day, "until": "today"} if is_date(day) else None
    if day := first_group(_BORN.fullmatch(text)):
        is_known = _WITH_YEAR.search(day) and is_date(day)
        return {"date": day, "until": "today"} if is_known else None
    if (month := first_group(_MONTH.fullmatch(text))) and is_date(f"1 {month}"):
        return {"date": f"1 {month}", "until": f"1 month after 1 {month}"}
    if (
        (match := _BETWEEN_DAYS.fullmatch(text))
        and is_date(match["first"])
        and is_date(match["second"])
    ):
        return {"date": match["first"], "until": match["second"]}
    if (match := _FROM_A_DAY.fullmatch(text)) and is_date(match["day"]):
        return {"date": match["day"]}
    if (
        _DAY_WORDS.search(text) or re.match("when(?:'s| is| was) ", text, re.IGNORECASE)
    ) and not _TODAY.fullmatch(text):
        return day_in(text)
    return None


def first_group(match: re.Match[str] | None) -> str:
    """Return the one group that took part in a match; empty without a match."""
    return next((group for group in match.groups() if group), "") if match else ""


def day_in(text: str) -> dict[str, str] | None:
    """Return the day of a question such as "which weekday was 24 December 2020"."""
    ending = r" (?:on|fall(?:s)?(?: on)?|be|going to be|(?:on )?this year|dieses jahr)$"
    words = re.sub(ending, "", text, flags=re.IGNORECASE).split()
    for count in range(min(len(words) - 1, 8), 0, -1):
        # The day is at the end: "what day of the week was 1 May 2020", "which day is in two weeks".
        phrase = " ".join(words[-count:])
        if is_date(phrase):
            rest = re.findall(r"[^\W\d_]+", " ".join(words[:-count]).lower())
            return {"date": phrase} if _DAY_TALK.issuperset(rest) else None
    return None


def is_date(text: str) -> bool:
    try:
        # Any day will do for today: it does not decide if the text is a date.
        date_of(text, date(2024, 1, 1))
    except UnknownDate:
        return False
    return True
