"""openai-python: what it makes of each answer. The argument is the address of the API."""

import json
import sys
import time
from typing import Any

import openai

base = sys.argv[1]
client = openai.OpenAI(base_url=base, api_key="none")


def ask(question: str, **options: Any) -> Any:
    messages: list[Any] = [{"role": "user", "content": question}]
    options = {"model": "fleet-light", "messages": messages, **options}
    return client.chat.completions.create(**options)


def failure(call: Any) -> list[Any]:
    """Return the class of the error, its code and what it belongs to."""
    try:
        call()
    except openai.APIError as exc:
        return [type(exc).__name__, getattr(exc, "code", None), getattr(exc, "param", None)]
    return ["no error"]


def streamed(question: str, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"text": "", "reasoning": "", "finish": [], "tokens": []}
    for chunk in ask(question, stream=True, **options):
        if chunk.usage:
            found["tokens"].append(chunk.usage.total_tokens)
        for choice in chunk.choices:
            found["text"] += choice.delta.content or ""
            found["reasoning"] += getattr(choice.delta, "reasoning_content", None) or ""
            found["finish"] += filter(None, [choice.finish_reason])
    return found


def left() -> float:
    """Leave a stream after its first word. Return when."""
    for chunk in ask("stay", stream=True):
        if chunk.choices[0].delta.content:
            break
    return time.monotonic()


def helper() -> list[Any]:
    messages: list[Any] = [{"role": "user", "content": "hello"}]
    with client.chat.completions.stream(model="fleet-light", messages=messages) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_completion().choices[0].message
    return [message.content, sorted(set(kinds))]


raw = client.chat.completions.with_raw_response.create(
    model="fleet-light", messages=[{"role": "user", "content": "hello"}], temperature=0
)
whole = ask("think")
stranger = openai.OpenAI(base_url=base, api_key="fleet_0123abcd_" + "x" * 51)
impatient = client.with_options(max_retries=0)
print(
    json.dumps(
        {
            "models": [model.id for model in client.models.list()],
            "model": client.models.retrieve("fleet").id,
            "text": whole.choices[0].message.content,
            "reasoning": whole.choices[0].message.reasoning_content,
            "tokens": whole.usage.total_tokens,
            "finish": whole.choices[0].finish_reason,
            "stream": streamed("think"),
            "stream with usage": streamed("think", stream_options={"include_usage": True}),
            "silent stream": streamed("silent")["text"],
            "helper": helper(),
            "raw": [
                raw.headers["fleet-ignored"],
                len(raw.headers["fleet-run"]),
                raw.parse().choices[0].message.content,
            ],
            "no token": failure(stranger.models.list),
            "no model": failure(lambda: ask("hello", model="gpt-9")),
            "bad": failure(lambda: ask("hello", stop=["."])),
            "busy": failure(
                lambda: impatient.chat.completions.create(
                    model="fleet-light", messages=[{"role": "user", "content": "busy"}]
                )
            ),
            "fails": failure(lambda: ask("fails")),
            "fails, streamed": failure(lambda: list(ask("fails, streamed", stream=True))),
            "fails late": failure(lambda: ask("fails late")),
            "cut": failure(lambda: list(ask("cut", stream=True))),
            "left": left(),
        }
    )
)
