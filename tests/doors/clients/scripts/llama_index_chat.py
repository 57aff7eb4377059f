"""llama-index-llms-openai-like: chat, stream, and the thinking as a block."""

import json
import sys

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

model = OpenAILike(api_base=sys.argv[1], api_key="none", model="fleet-light", is_chat_model=True)
messages = [ChatMessage(role="system", content="Be brief."), ChatMessage("think")]
whole = model.chat(messages)
*_, last = model.stream_chat(messages)
print(
    json.dumps(
        {
            "text": whole.message.content,
            "blocks": [type(block).__name__ for block in whole.message.blocks],
            "streamed": last.message.content,
            "streamed blocks": [type(block).__name__ for block in last.message.blocks],
        }
    )
)
