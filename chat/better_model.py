"""How the person who runs this fleet gets a better model than the stand-in."""

import shutil
from dataclasses import dataclass
from functools import cache

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy


@dataclass(frozen=True, slots=True)
class Way:
    """One way to a better model. The fleet must be started again after it."""

    meaning: Promise
    command: str


FETCH = Way(
    gettext_lazy("Fetch a good small model (1.3 GB), without a key:"),
    "uv run manage.py fetch_model",
)
KEY = Way(
    gettext_lazy("Use OpenAI, or any compatible server with OPENAI_BASE_URL:"),
    "OPENAI_API_KEY=sk-… uv run manage.py fleet",
)
# The fleet finds a model server on this machine when it starts.
OLLAMA = Way(
    gettext_lazy("Ollama is installed here: fetch a model with it."),
    "ollama pull qwen3.5:4b",
)


@cache
def ways() -> tuple[Way, ...]:
    """Return the ways that are open on this machine, the one that fits best first."""
    return (OLLAMA, FETCH, KEY) if shutil.which("ollama") else (FETCH, KEY)
