"""Web search as a tool: the request that is sent, the key of its result, and what is redacted."""

import re
import unicodedata
from typing import Annotated, Any, Literal

from msgspec import Meta

from .registry import CacheRule, tool
from .results import Output, ToolFailure, TtlClass
from .schema import Arguments
from .sentences import sentence
from .services import Services
from .untrusted import cut, one_line

MAX_QUERY_CHARS = 380  # the provider takes 400
MAX_FOLLOWED_CHARS = 200  # of the question before a follow-up
# For every reader; operators get the settings elsewhere.
SEARCH_OFF = sentence("Web search is off.")

type Topic = Literal["general", "news", "finance"]
type TimeRange = Literal["any", "day", "week", "month", "year"]

# --- Parameters and keys --------------------------------------------------------------------------

_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_CARD = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")
_PHONE = re.compile(
    r"(?<![\w.,+])(?:\+|00)\d(?:[ ().-]{0,2}\d){7,13}\b"  # +49 30 1234567
    r"|(?<![\w.,-])\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}\b(?![.,]?\d)"  # (555) 123-4567
    r"|(?<![\w.,-])(?<!\d )0\d{2,4}[ /-]\d{3,}(?:[ -]?\d{2,})*\b"  # 030 1234567
)

# Compatibility forms with another meaning than the plain character: 5² is not 52.
_MEANINGFUL_FORMS = {"<super>", "<sub>", "<fraction>"}
_CLOSING = " \t\n.?!。؟।"
_RELATIVE_TO_TODAY = re.compile(
    r"\b(?:today|tonight|tomorrow|yesterday|now|current|currently|latest|newest|recent|recently"
    r"|live|this (?:morning|week|month|year|"
    r"weekend|season)|"
    r"(?:next|last|past) (?:\w+ )?(?:hour|day|week|weekend|month|year|season)s?|"
    r"breaking|so far|upcoming|right now|ago|"
    r"heute|morgen|gestern|jetzt|aktuell\w*|neueste\w*|derzeit|gerade|diese[rsmn]? (?:woche|monat"
    r"|jahr)|letzte[rsmn]?|nächste[rsmn]?|"
    r"aujourd'hui|demain|hier|maintenant|actuel\w*|dernières?|derniers?|récent\w*|cette (?:semaine"
    r"|année)|ce mois|prochaine?s?|"
    r"hoy|mañana|ayer|ahora|actual\w*|últim[oa]s?|reciente\w*|est[ea] (?:semana|mes|año)"
    r"|próxim[oa]s?|"
    r"oggi|domani|ieri|adesso|attual\w*|ultim[oaei]|recent[ei]|questa settimana|prossim[oa]|"
    r"hoje|amanhã|ontem|agora|atual\w*|"
    r"vandaag|gisteren|huidige?|laatste|nieuwste|recente|"
    r"idag|imorgon|igår|senaste|aktuell\w*|"
    r"dzisiaj|dziś|jutro|wczoraj|teraz|najnowsz\w*|aktualn\w*|"
    r"сегодня|завтра|вчера|сейчас|последн\w*|текущ\w*)\b"
    r"|今日|明日|昨日|今|最新|現在|今天|明天|昨天|现在|目前|오늘|내일|어제|지금|최신|현재|आज|اليوم|الآن|أحدث|bugün|şimdi|güncel",
    re.IGNORECASE,
)

# Not "who won", which may be long ago, and not "news" alone, which is part of names.
_NEWS = re.compile(
    r"\b(?:(?:any|latest|breaking|recent|top|today'?s|in the) news|news (?:about|of|on|from|today"
    r"|tonight)|headlines"
    r"|nachrichten|noticias|nouvelles|notizie)\b|новости|新闻|ニュース",
    re.IGNORECASE,
)
_FINANCE = re.compile(
    r"\b(?:(?:share|stock)s? (?:price|market)s?|exchange rates?|nasdaq|dow jones|s&p 500|dax"
    r"|bitcoin|btc|ethereum"
    r"|price of (?:gold|silver|oil)|(?:gold|silver|oil) price|aktienkurs|wechselkurs)\b",
    re.IGNORECASE,
)


# The wordings of questions that obviously need a search: weather, prices, results, news.
_PHRASES = re.compile(
    "|".join(
        (
            r"\bweather\b|\bforecast\b",
            r"\btemperature (?:in|today|tomorrow|outside)\b",
            r"\bhow (?:cold|hot|warm) is it\b",
            r"\b(?:will|is) it (?:going to )?(?:rain|snow)\w*\b",
            r"\b(?:price|exchange rate|nasdaq|dow jones|bitcoin|btc|ethereum|news|headlines?|score"
            r"|standings)\b",
            r"\b(?:share|stock)s? (?:price|market)\b",
            r"\b(?:latest|current(?:ly)?|right now|today|tonight|tomorrow|yesterday|last night"
            r"|recent(?:ly)?|so far|upcoming)\b",
            r"\bthis (?:week|weekend|month|year|season)\b",
            r"\bnext (?:match|game|episode|election|holiday|season|full moon)\b",
            r"\b(?:opening hours|open (?:now|today|on)|air quality|traffic|flight status"
            r"|who (?:won|is winning))\b",
            r"\b20(?:2[4-9]|3\d)\b",
            r"wetter\b|météo|quel temps|\bclima\b|\btempo (?:fa|em)|погод|天気|天气|날씨",
            r"hava durumu|pogoda|курс ",
        )
    ),
    re.IGNORECASE,
)
NOTHING_LEFT = sentence("Nothing was left to search for without personal data.")


def redacted(query: str) -> str:
    """Return the query without e-mail addresses, payment cards and phone numbers."""
    # Addresses first, since they may contain digits; phone numbers last, since cards look alike.
    query = _CARD.sub(
        lambda match: " " if is_card(match[0]) else match[0], _ADDRESS.sub(" ", query)
    )
    return " ".join(_PHONE.sub(" ", query).split())


def is_card(digits: str) -> bool:
    """Return True if the check digit is right, as in all cards and a tenth of other numbers."""
    numbers = [int(digit) for digit in digits if digit.isdigit()][::-1]
    return sum(numbers[::2] + [sum(divmod(2 * number, 10)) for number in numbers[1::2]]) % 10 == 0


def normalised(query: str) -> str:
    """Return a form that is the same for all ways to write a query.

    Compatibility forms, case, spaces and closing punctuation don't count. Words, their order and
    digits do.
    """
    # Lower case instead of case folding, which would make "Maße" and "Masse" the same.
    folded = " ".join("".join(map(plain, unicodedata.normalize("NFC", query))).lower().split())
    return unicodedata.normalize("NFC", folded).rstrip(_CLOSING) or folded


def plain(character: str) -> str:
    form = unicodedata.decomposition(character).partition(" ")[0]
    return character if form in _MEANINGFUL_FORMS else unicodedata.normalize("NFKC", character)


def is_about_today(query: str) -> bool:
    """Return True if the answer may change by tomorrow, judging by the words of the query."""
    return _RELATIVE_TO_TODAY.search(query) is not None


def request_for(arguments: Arguments) -> dict[str, Any]:
    """Return the request to the provider. A call costs one credit, or two for a deep search."""
    request: dict[str, Any] = {
        "query": cut(redacted(one_line(arguments["query"])), MAX_QUERY_CHARS),
        "search_depth": "advanced" if arguments["deep"] else "basic",
        "topic": arguments["topic"],
        "max_results": arguments["max_results"],
        "include_usage": True,
    }
    if arguments["time_range"] != "any":
        request["time_range"] = arguments["time_range"]
    return request


def key_parameters(arguments: Arguments, services: Services) -> dict[str, Any]:
    """Return all that decides the result, with the day for queries whose answer depends on it."""
    request = request_for(arguments)
    relative = (
        request["topic"] != "general" or "time_range" in request or is_about_today(request["query"])
    )
    day = services.now().astimezone(services.zone).date().isoformat() if relative else ""
    return {
        **request,
        "query": normalised(request["query"]),
        "day": day,
        "provider": account_of(services),
    }


def ttl_of(arguments: Arguments) -> TtlClass:
    is_news = (
        arguments["topic"] != "general"
        or arguments["time_range"] in {"day", "week"}
        or is_about_today(arguments["query"])
    )
    return "news" if is_news else "general"


def account_of(services: Services) -> str:
    return services.search.account if services.search else ""


def reason_off(services: Services) -> str:
    return "" if services.search else SEARCH_OFF


def arguments_in(question: str, follows: str) -> dict[str, Any] | None:
    """Return the query for a question, with the question that it follows in front."""
    whole = f"{cut(one_line(follows), MAX_FOLLOWED_CHARS).removesuffix(' […]')} {question}"
    query = cut(" ".join(whole.split()), MAX_QUERY_CHARS).removesuffix(" […]")
    if not query:
        return None
    topic = "news" if _NEWS.search(query) else "finance" if _FINANCE.search(query) else None
    return {"query": query, "topic": topic} if topic else {"query": query}


# --- The tool -------------------------------------------------------------------------------------


@tool(
    timeout=12,
    max_chars=6000,
    untrusted=True,
    cache=CacheRule(
        parameters=key_parameters,
        ttl=ttl_of,
        query=lambda arguments: str(request_for(arguments)["query"]),
        topic=lambda arguments: str(arguments["topic"]),
        account=account_of,
    ),
    reason_off=reason_off,
    phrases=_PHRASES,
    from_question=arguments_in,
)
async def web_search(
    query: Annotated[
        str,
        Meta(
            description="What to look for: one question, in few words",
            min_length=1,
            max_length=MAX_QUERY_CHARS,
        ),
    ],
    topic: Annotated[
        Topic, Meta(description="news: what happened lately; finance: prices and markets")
    ] = "general",
    time_range: Annotated[TimeRange, Meta(description="How old the pages may be")] = "any",
    max_results: Annotated[int, Meta(description="How many pages", ge=1, le=10)] = 5,
    deep: Annotated[
        bool,
        Meta(
            description="Longer excerpts at twice the price; only if a first search was not enough"
        ),
    ] = False,
    *,
    services: Services,
) -> Output:
    """Search the web for facts that may have changed or that you do not know. Returns numbered
    excerpts of pages; cite them by their numbers, as [1]."""
    if services.search is None:
        raise ToolFailure(SEARCH_OFF)
    arguments = {
        "query": query,
        "topic": topic,
        "time_range": time_range,
        "max_results": max_results,
        "deep": deep,
    }
    request = request_for(arguments)
    if not request["query"]:
        raise ToolFailure(
            NOTHING_LEFT,
            advice="Search for something public.",
        )
    return await services.search.search(request)
