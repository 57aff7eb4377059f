"""pydantic-ai: run, stream, the thinking, and an output type, which is refused."""

import asyncio
import json
import sys

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

provider = OpenAIProvider(base_url=sys.argv[1], api_key="none")
model = OpenAIChatModel("fleet-light", provider=provider)


class City(BaseModel):
    name: str


async def main() -> dict[str, object]:
    agent = Agent(model)
    whole = await agent.run("think")
    async with agent.run_stream("think") as streaming:
        streamed = await streaming.get_output()
        tokens = streaming.usage
        tokens = tokens() if callable(tokens) else tokens
    try:
        await Agent(model, output_type=City).run("think")
        refused: list[object] = []
    except ModelHTTPError as exc:
        refused = [exc.status_code, exc.body]
    parts = [part for message in whole.all_messages() for part in message.parts]
    return {
        "text": whole.output,
        "thinking": [part.content for part in parts if part.part_kind == "thinking"],
        "streamed": streamed,
        "streamed tokens": tokens.input_tokens + tokens.output_tokens,
        "refused": refused,
    }


print(json.dumps(asyncio.run(main())))
