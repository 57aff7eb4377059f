"""What Ollama tells of one model, at its /api/show. No I/O."""

import re

from .listing import ListedModel, chats, numbers_in

# What Ollama reads of a request if nothing tells more, however much its model could read. It drops
# the rest without an error.
DEFAULT_TOKENS = 4096
NUM_CTX = re.compile(r"^num_ctx\s+(\d{1,9})\s*$", re.MULTILINE)
OF_ARCHITECTURE = re.compile(r"\w*contextlength")  # such as qwen3.context_length
CLOUD = re.compile(r"[-:]cloud$")


def is_in_cloud(name: str) -> bool:
    """Return True if Ollama doesn't run this model itself, but sends questions to ollama.com."""
    return CLOUD.search(name) is not None


def shown_model(name: str, content: object, *, loaded: int | None) -> ListedModel | None:
    """Return what a reply tells of the model `name`; None if it isn't one of Ollama.

    A loaded model reads what it was loaded for. The others read what their Modelfile says.
    """
    if not isinstance(content, dict):
        return None
    info, parameters = content.get("model_info"), content.get("parameters")
    if not isinstance(info, dict):
        return None
    possible = min(numbers_in(info, OF_ARCHITECTURE), default=None)
    written = NUM_CTX.search(parameters) if isinstance(parameters, str) else None
    reads = loaded or int(written[1] if written else 0) or DEFAULT_TOKENS
    return ListedModel(
        id=name,
        context_tokens=min(reads, possible or reads),
        possible_tokens=possible,
        cuts_silently=True,
        chats=chats(content),
    )
