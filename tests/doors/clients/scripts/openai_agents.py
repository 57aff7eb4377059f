"""openai-agents: both APIs, plain and streamed."""

import asyncio
import json
import sys
from typing import Any

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    WebSearchTool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI

set_tracing_disabled(True)
client = AsyncOpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none")
KINDS = {"chat": OpenAIChatCompletionsModel, "responses": OpenAIResponsesModel}


async def try_out(kind: str) -> list[Any]:
    model = KINDS[kind](model="fleet-light", openai_client=client)
    agent = Agent(name="Asker", instructions="Be brief.", model=model)
    first = await Runner.run(agent, "What is the answer?")
    streamed = Runner.run_streamed(
        agent, [*first.to_input_list(), {"role": "user", "content": "?"}]
    )
    words = [
        event.data.delta
        async for event in streamed.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    return [first.final_output, "".join(words), streamed.final_output]


async def search() -> list[Any]:
    model = OpenAIResponsesModel(model="fleet-light", openai_client=client)
    agent = Agent(name="Searcher", model=model, tools=[WebSearchTool()])
    first = await Runner.run(agent, "search")
    items = [item.type for item in first.new_items]
    second = await Runner.run(
        agent, "What is the answer?", previous_response_id=first.last_response_id
    )
    return [items, second.final_output]


async def main() -> None:
    found = {kind: await try_out(kind) for kind in KINDS} | {"search": await search()}
    print(json.dumps(found))


asyncio.run(main())
