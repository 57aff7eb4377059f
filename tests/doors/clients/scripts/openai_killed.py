"""openai-python, while the worker that answers is killed: a stream, or else a whole answer.

The last argument is a file that is made once the first word of a stream is there.
"""

import json
import sys
from pathlib import Path
from typing import Any

import openai

address, question, how, mark = sys.argv[1:]
client = openai.OpenAI(base_url=address, api_key="none")
messages: list[Any] = [{"role": "user", "content": question}]
options: dict[str, Any] = {"model": "fleet-light", "messages": messages}
found: dict[str, Any] = {"text": "", "error": None}
try:
    if how == "streamed":
        for chunk in client.chat.completions.create(stream=True, **options):
            found["text"] += chunk.choices[0].delta.content or ""
            if found["text"]:
                Path(mark).touch()
    else:
        found["text"] = client.chat.completions.create(**options).choices[0].message.content
except openai.APIError as exc:
    found["error"] = type(exc).__name__
print(json.dumps(found))
