"""openai-python: a response in the background whose server dies, followed to its end."""

import json
import sys
import time
from typing import Any

from openai import APIConnectionError, APIStatusError, OpenAI

client = OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none", max_retries=0)
told: list[Any] = []
has_been_cut = False


def follow(stream: Any) -> None:
    for event in stream:
        told.append(event)


try:
    question = {"model": "fleet-light", "input": sys.argv[2]}
    follow(client.responses.create(**question, background=True, stream=True))
except APIConnectionError:
    has_been_cut = True
while told[-1].type != "response.completed":
    try:
        behind = {"starting_after": told[-1].sequence_number, "stream": True}
        follow(client.responses.retrieve(told[0].response.id, **behind))
    except (APIConnectionError, APIStatusError):
        time.sleep(0.2)
numbers = [event.sequence_number for event in told]
deltas = [event.delta for event in told if event.type == "response.output_text.delta"]
print(
    json.dumps(
        {
            "cut": has_been_cut,
            "in order": numbers == sorted(set(numbers)),
            "pieces": "".join(deltas),
            "text": told[-1].response.output_text,
        }
    )
)
