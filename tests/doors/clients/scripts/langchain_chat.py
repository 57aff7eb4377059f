"""langchain-openai: whole and streamed answers, and their tokens."""

import json
import sys

import openai
from langchain_openai import ChatOpenAI

model = ChatOpenAI(base_url=sys.argv[1], api_key="none", model="fleet-light")
whole = model.invoke("think")
pieces = list(model.stream("think"))
together = pieces[0]
for piece in pieces[1:]:
    together += piece
counted = model.model_copy(update={"stream_usage": True})
again = None
for piece in counted.stream("think"):
    again = piece if again is None else again + piece
try:
    model.invoke([("user", [{"type": "image_url", "image_url": {"url": "https://host/x.png"}}])])
    refused = ""
except openai.BadRequestError as exc:
    refused = f"{type(exc).__name__}: {exc}"
print(
    json.dumps(
        {
            "text": whole.content,
            "tokens": whole.usage_metadata["total_tokens"],
            "finish": whole.response_metadata["finish_reason"],
            "streamed": together.content,
            "streamed tokens": together.usage_metadata["total_tokens"],
            "streamed finish": together.response_metadata["finish_reason"],
            "counted tokens": again.usage_metadata["total_tokens"],
            "refused": refused,
        }
    )
)
