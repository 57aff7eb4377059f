"""What the page offers for a question: examples, and what can be chosen with it."""

from django.utils.translation import gettext_lazy, pgettext_lazy

# The router must send each example the way that its label promises; a test checks that.
EXAMPLES = [
    {
        "label": pgettext_lazy("example", "Quick"),
        "question": gettext_lazy("What time is it in Tokyo?"),
    },
    {
        "label": pgettext_lazy("example", "Quick"),
        "question": gettext_lazy("How many days are left until 24 December?"),
    },
    {
        "label": pgettext_lazy("example", "Thorough"),
        "question": gettext_lazy(
            "Compare Kafka and RabbitMQ for an order system with 500 orders per second."
        ),
    },
    {
        "label": pgettext_lazy("example", "Thorough"),
        "question": gettext_lazy(
            "Plan a three-day visit to Lisbon for a family with two small children."
        ),
    },
]
# A tool answers the first three, and the last one is what the stand-in does best. Not translated,
# because it knows only English.
STAND_IN_EXAMPLES = [
    {"label": gettext_lazy("Exact"), "question": "What time is it in Tokyo?"},
    {"label": gettext_lazy("Exact"), "question": "How many days are left until 24 December?"},
    {"label": gettext_lazy("Exact"), "question": "What is 18% of 249?"},
    {
        "label": gettext_lazy("By the stand-in"),
        "question": "Explain photosynthesis to a ten-year-old.",
    },
]
STAND_IN_MODES = [
    {
        "value": "auto",
        "name": gettext_lazy("Auto"),
        "meaning": gettext_lazy("A tool, or else the stand-in model"),
    }
]
MODES = [
    {
        "value": "auto",
        "name": gettext_lazy("Auto"),
        "meaning": gettext_lazy("One agent or the team, as needed"),
    },
    {
        "value": "light",
        "name": gettext_lazy("Light"),
        "meaning": gettext_lazy("One agent: quick and cheap"),
    },
    {
        "value": "full",
        "name": gettext_lazy("Full team"),
        "meaning": gettext_lazy("Plan, research, draft and review: slower"),
    },
]
# Where the mode auto draws the line between one agent and the team.
PREFERENCES = [
    {
        "value": "economy",
        "name": gettext_lazy("Economy"),
        "meaning": gettext_lazy("One agent more often: quicker and cheaper"),
    },
    {
        "value": "balanced",
        "name": gettext_lazy("Balanced"),
        "meaning": gettext_lazy("The team where it makes a difference"),
    },
    {
        "value": "quality",
        "name": gettext_lazy("Quality"),
        "meaning": gettext_lazy("The team more often: slower and more thorough"),
    },
]
# How much a model that thinks does so; the first leaves it to the model.
EFFORTS = [
    {
        "value": "",
        "name": gettext_lazy("Auto"),
        "meaning": gettext_lazy("As the model does by itself"),
    },
    {
        "value": "minimal",
        "name": gettext_lazy("Little"),
        "chosen": gettext_lazy("Little thinking"),
        "meaning": gettext_lazy("Quicker and cheaper"),
    },
    {"value": "medium", "name": gettext_lazy("Medium"), "chosen": gettext_lazy("Medium thinking")},
    {
        "value": "maximal",
        "name": gettext_lazy("Much"),
        "chosen": gettext_lazy("Much thinking"),
        "meaning": gettext_lazy("Slower, for hard questions"),
    },
]
