"""The words of the demo: questions, answers, notes, sources, and texts that attack pages."""

from chat.prices import ModelPrice, Prices
from chat.protocol.errors import INTERNAL, MAX_RUNTIME, SHUTTING_DOWN, Code, ErrorInfo

# The last user has the long conversation.
USERS = tuple(f"user:demo-{number}" for number in range(1, 41))
BROWSERS = tuple(f"browser:demo-{number * 0x9E3779B1 % 2**32:08x}" for number in range(1, 301))
SCRIPT, TERMINAL = "script:demo", "terminal:demo"
OWNERS = (*USERS, *BROWSERS, SCRIPT, TERMINAL)

# The models of the light and of the full path, oldest first.
MODELS = (
    ("qwen3-8b", "llama-3.3-70b"),
    ("gpt-5-nano", "gpt-5-mini"),
    ("gpt-5-mini", "gpt-5"),
)
ROUTER_MODEL = "gpt-5-nano"
PRICES = Prices(
    models={
        "gpt-5-nano": ModelPrice(0.05, 0.4),
        "gpt-5-mini": ModelPrice(0.25, 2),
        "gpt-5": ModelPrice(1.25, 10),
        "llama-3.3-70b": ModelPrice(0.6, 0.8),
        "qwen3-8b": ModelPrice(0.04, 0.1),
    },
    search_credit=0.008,
)

THINGS = (
    "PostgreSQL", "Redis streams", "RabbitMQ", "Kafka", "the euro", "a heat pump", "oat milk",
    "Lisbon", "the Rhine", "a 12 V battery", "Python generators", "WebSockets", "an e-bike",
    "the James Webb telescope", "sourdough", "a mortgage of 300,000 €", "Mars", "zinc", "Oslo",
    "gravel bikes", "Django Channels", "the Danube", "solar panels", "a sabbatical", "vitamin D",
    "the metric system", "SQLite", "a marathon", "Estonia", "the Roman calendar", "concrete",
    "green tea", "an index on two columns", "a 401 response", "TLS 1.3", "espresso", "bees",
    "the moon landing", "a used car", "night trains",
)  # fmt: skip
SHORT_QUESTIONS = (
    "What is {0}?",
    "Who invented {0}?",
    "What does {0} cost today?",
    "When was {0} first mentioned?",
    "Is {0} older than {1}?",
    "Convert 12.5 miles to km for {0}.",
    "What time is it in {0}?",
    "Give me one sentence about {0}.",
    "Latest news on {0}?",
    "How do I spell {0} in German?",
)
LONG_QUESTIONS = (
    "Compare {0} with {1}: history, cost, risks, and what you would choose for a small company.",
    "Write a plan to move from {0} to {1} within six months, with milestones and a budget.",
    "Why do experts disagree about {0}? Give sources for both sides and judge them.",
    "Analyse the market for {0} in Europe, then recommend how to enter it with 50,000 €.",
    "Explain {0} to a beginner and to an expert, with an example that uses {1}.",
    "We have problems with {0} since last week:\n\n- it is slow\n- {1} fails at night\n- nobody "
    "knows why\n\nWhat should we check, in which order?",
)
SENTENCES = (
    "In short, **{0}** is a matter of scale and of who has to look after it.",
    "The figures differ by source [1], but most agree on the order of magnitude [2].",
    "`{0}` is cheap to begin with; the cost comes with the third team that depends on it.",
    "For a small company the difference to {1} is smaller than the difference in habits.",
    "Three things decide: what you have, what you know, and how long it has to last.",
    "If you measure only one thing, measure the time until someone notices a fault.",
    "The older reports [2] expected {1} to disappear by now; it has not.",
    "| | {0} | {1} |\n|---|---|---|\n| to begin | cheap | cheap |\n| at scale | costly | steady |",
    "1. Write down what must not break.\n2. Change one part.\n3. Wait a week.",
    "That is a rough figure: prices of {0} moved by a fifth within the last year [1].",
    "```python\nfor part in plan:\n    part.check()\n```",
    "I would begin with {0} and keep {1} as the way back.",
)
TASKS = {
    "researcher": "Find current facts and prices on {0}, with dates.",
    "researcher-2": "Find what critics say about {1}.",
    "analyst": "Work out the cost of {0} over five years, with assumptions.",
}
AGENT_NAMES = {
    "assistant": "Assistant", "planner": "Planner", "researcher": "Researcher",
    "researcher-2": "Researcher 2", "analyst": "Analyst", "writer": "Writer",
    "reviewer": "Reviewer", "editor": "Editor",
}  # fmt: skip
HOSTS = ("en.wikipedia.org", "www.reuters.com", "docs.example.org", "blog.example.net", "bbc.co.uk")
LIGHT_REASONS = (
    "its question is short", "asks for one fact", "asks for one thing", "says “what”",
    "is a calculation", "is a plain question", "is small talk",
)  # fmt: skip
FULL_REASONS = (
    "compares things", "asks for a plan", "asks for several things", "asks for an analysis",
    "its request is long", "sets conditions", "asks for reasons",
)  # fmt: skip
ESCALATIONS = (
    "the light answer did not know",
    "the light answer needed more tools than it may use",
    "the light answer needed more words than it may use",
    "the light answer was empty",
)
TOOL_FAILURES = (
    "The search did not answer within 10 s.",
    "The search is over its limit of calls. It is tried again in 5 min.",
    "web_search took longer than 12 s.",
)
REJECTIONS = ("cap_reached", "invalid_arguments", "not_allowed", "unknown_tool")

SERVER = "api.example.com"
ERRORS: dict[Code, tuple[ErrorInfo, ...]] = {
    "model_unavailable": (
        ErrorInfo("model_unavailable", f"The model at {SERVER} cannot be reached.", True),
        ErrorInfo(
            "model_unavailable", f"The model server at {SERVER} has a problem (status 503).", True
        ),
    ),
    "model_error": (
        ErrorInfo("model_error", "The model's answer was cut off. What came so far is kept.", True),
        ErrorInfo(
            "model_error", f"The model server at {SERVER} refused the key. Set OPENAI_API_KEY."
        ),
        ErrorInfo("model_error", f'The model server at {SERVER} does not know "<b>gpt</b>".'),
        ErrorInfo("model_error", "The model gave an empty answer.", True),
    ),
    "first_chunk_timeout": (
        ErrorInfo("first_chunk_timeout", "The model did not answer in time.", True),
    ),
    "idle_timeout": (
        ErrorInfo(
            "idle_timeout",
            "The model stopped in mid-answer. What came so far is kept.",
            True,
        ),
    ),
    "rate_limited": (
        ErrorInfo("rate_limited", "The model is busy. Try again in 20 s.", True),
        ErrorInfo("rate_limited", "The model is busy. Try again in a moment.", True),
    ),
    "context_too_long": (
        ErrorInfo(
            "context_too_long",
            "This conversation is too long for the model. Start a new one, or ask something"
            " shorter.",
        ),
    ),
    "max_runtime": (MAX_RUNTIME,),
    "shutting_down": (SHUTTING_DOWN,),
    "internal": (INTERNAL,),
}
ERROR_WEIGHTS: dict[Code, int] = {
    "model_unavailable": 8, "model_error": 8, "rate_limited": 10, "first_chunk_timeout": 6,
    "idle_timeout": 3, "context_too_long": 4, "max_runtime": 2, "shutting_down": 3, "internal": 1,
}  # fmt: skip

# Texts that break pages which trust them. They are in questions, answers, notes and results.
HOSTILE = (
    "<script>document.title = 'attacked'</script><img src=x onerror=alert(1)>",
    "</textarea></pre></details><h1>Outside</h1><style>body{display:none}</style>",
    "مرحبا، كيف تعمل قواعد البيانات؟ \u202edesrever si siht\u202c \u2067עברית\u2069",
    "Donaudampfschifffahrtsgesellschaftskapitän" * 12,
    "👩‍👩‍👧‍👦🏳️‍🌈 Ｆｕｌｌｗｉｄｔｈ Z͑ͫ̓ͪ̂a͎̜l̸g͢o ﷽ 𝕏 \u200b\u200d\ufeff",
    "# Title\n\n[click](javascript:alert(1)) ![x](https://evil.example/p.png) **b\n\n> > > quote",
    "{{ settings.SECRET_KEY }} {% include 'x' %} ${7*7} %s \\u003cb\\u003e &lt;b&gt; &amp;amp;",
    "a\tb\r\nc\x0bd\x1b[31mred\x1b[0m ]]> --> '\" ` ; DROP TABLE chat_run; --",
)
