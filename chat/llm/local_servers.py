"""What people need to know of the model servers that run on their own machine."""

from enum import StrEnum

from django.conf import settings

from tooling.sentences import sentence


class Kind(StrEnum):
    """The model servers that can be told apart from others, by their names."""

    OLLAMA = "Ollama"
    LM_STUDIO = "LM Studio"
    LLAMA_CPP = "llama.cpp"
    VLLM = "vLLM"


# For operators, if one that was found at the start doesn't answer any more.
START_AGAIN: dict[str, str] = {
    Kind.OLLAMA: sentence("It is Ollama on this machine. Start it again: ollama serve"),
    Kind.LM_STUDIO: sentence(
        "It is LM Studio on this machine. Start its server again: lms server start"
    ),
    Kind.LLAMA_CPP: sentence("It is llama.cpp on this machine. Start it again: llama-server"),
    Kind.VLLM: sentence("It is vLLM on this machine. Start it again: vllm serve"),
}
# How to make them read more. For operators.
READ_MORE: dict[str, str] = {
    Kind.OLLAMA: "OLLAMA_CONTEXT_LENGTH=16384 ollama serve",
    Kind.LM_STUDIO: "lms load --context-length 16384",
    Kind.LLAMA_CPP: "llama-server -c 16384",
    Kind.VLLM: "vllm serve --max-model-len 16384",
}


def start_again() -> str:
    """Return how to start the server in use; an empty string if it isn't one that was found."""
    return START_AGAIN.get(settings.FLEET_MODEL_SERVER, "")


def how_to_read_more(*, is_ollama: bool) -> str:
    """Return the command after which the server in use reads more; an empty string if unknown."""
    return READ_MORE.get(Kind.OLLAMA if is_ollama else settings.FLEET_MODEL_SERVER, "")
