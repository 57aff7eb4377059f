"""litellm: completion, stream, the thinking, and errors."""

import json
import sys
from typing import Any

import litellm
import openai

litellm.suppress_debug_info = True


def ask(question: str, **options: Any) -> Any:
    return litellm.completion(
        model=f"openai/{options.pop('model', 'fleet-light')}",
        api_base=sys.argv[1],
        api_key="none",
        messages=[{"role": "user", "content": question}],
        **options,
    )


def failure(question: str, **options: Any) -> str:
    try:
        found = ask(question, **options)
        if options.get("stream"):
            list(found)
    except openai.APIError as exc:  # the base of litellm's own
        return type(exc).__name__
    return "no error"


whole = ask("think")
chunks = list(ask("think", stream=True))
texts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
thoughts = [
    getattr(choice.delta, "reasoning_content", None) or ""
    for chunk in chunks
    for choice in chunk.choices
]
print(
    json.dumps(
        {
            "text": whole.choices[0].message.content,
            "reasoning": whole.choices[0].message.reasoning_content,
            "tokens": whole.usage.total_tokens,
            "streamed": "".join(texts),
            "streamed reasoning": "".join(thoughts),
            "no model": failure("hello", model="gpt-9"),
            "fails": failure("fails", max_retries=0),
            "cut": failure("cut", stream=True, max_retries=0),
        }
    )
)
