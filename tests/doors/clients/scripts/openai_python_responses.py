"""openai-python: the Responses plain, streamed, in the background, resumed and cancelled."""

import asyncio
import json
import sys
import time
from typing import Any

from openai import APIStatusError, AsyncOpenAI, NotFoundError, OpenAI

client = OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none")
found: dict[str, Any] = {}
ASK: dict[str, Any] = {"model": "fleet-light"}

plain = client.responses.create(input="What is the answer?", **ASK)
found["plain"] = [plain.output_text, plain.status, plain.usage.total_tokens > 0]

second = client.responses.create(input="And?", previous_response_id=plain.id, **ASK)
items = client.responses.input_items.list(second.id, order="asc")
found["input"] = [item.content[0].text for item in items]

with client.responses.stream(input="What is the answer?", **ASK) as stream:
    deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
    final = stream.get_final_response()
found["stream"] = ["".join(deltas), len(deltas), final.output_text]

searched = client.responses.create(input="search", tools=[{"type": "web_search"}], **ASK)
search, message = (
    next(item for item in searched.output if item.type == kind)
    for kind in ("web_search_call", "message")
)
[citation] = message.content[0].annotations
found["search"] = [search.action.query, search.action.sources[0].url == citation.url]
found["cited"] = searched.output_text[citation.start_index : citation.end_index]

# In the background: it is read, followed, cut, and followed on.
begun = client.responses.create(input="slow", background=True, stream=True, **ASK)
told = []
for event in begun:
    told.append(event)
    if event.type == "response.output_text.delta":
        break
begun.close()
response_id, cursor = told[0].response.id, told[-1].sequence_number
found["live"] = client.responses.retrieve(response_id).status
rest = client.responses.retrieve(response_id, stream=True, starting_after=cursor)
told += rest
found["numbers"] = [event.sequence_number for event in told] == list(range(len(told)))
found["background"] = told[-1].response.output_text
found["later"] = client.responses.retrieve(response_id).output_text
with client.responses.stream(response_id=response_id, starting_after=cursor) as stream:
    found["helper"] = len(list(stream)) == len(told) - cursor - 1

polled = client.responses.create(input="What is the answer?", background=True, **ASK)
while polled.status in ("queued", "in_progress"):
    time.sleep(0.05)
    polled = client.responses.retrieve(polled.id)
found["polled"] = polled.output_text

held = client.responses.create(input="hang", background=True, **ASK)
found["cancelled"] = client.responses.cancel(held.id).status
found["deleted"] = client.responses.delete(held.id)
try:
    client.responses.retrieve(held.id)
except NotFoundError as exc:
    found["gone"] = [exc.code, exc.param]

calm = OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none", max_retries=0)
for name, question in (("refused", "x" * 32_001), ("failed", "bad")):
    try:
        calm.responses.create(input=question, **ASK)
    except APIStatusError as exc:
        found[name] = [type(exc).__name__, exc.status_code, exc.code]
ends = [event.type for event in calm.responses.create(input="cut", stream=True, **ASK)]
found["cut"] = ends[-1]


async def ask_async() -> list[Any]:
    async with AsyncOpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none") as each:
        stream = await each.responses.create(input="pings", stream=True, **ASK)
        types = [event.type async for event in stream]
        return [types[0], types[-1]]


found["pings"] = asyncio.run(ask_async())
print(json.dumps(found))
