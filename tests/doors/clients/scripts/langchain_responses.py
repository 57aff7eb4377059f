"""langchain-openai with `use_responses_api`: invoke, stream, usage, a chat."""

import json
import sys

from langchain_openai import ChatOpenAI

model = ChatOpenAI(
    base_url=f"{sys.argv[1]}/v1",
    api_key="none",
    model="fleet-light",
    use_responses_api=True,
    output_version="responses/v1",
)
found = {}
plain = model.invoke("What is the answer?")
found["plain"] = [plain.text, plain.usage_metadata["total_tokens"] > 0]
chunks = list(model.stream("What is the answer?"))
whole = chunks[0]
for chunk in chunks[1:]:
    whole += chunk
found["stream"] = [whole.text, len(chunks) > 3, whole.usage_metadata == plain.usage_metadata]
found["kinds"] = [block["type"] for block in whole.content]
searched = model.bind_tools([{"type": "web_search"}]).invoke("search")
found["search"] = [block["type"] for block in searched.content]
found["sources"] = [
    annotation["url"] for block in searched.content for annotation in block.get("annotations", ())
]
chat = [("system", "Be brief."), ("user", "What is the answer?"), plain, ("user", "Why?")]
found["chat"] = model.invoke(chat).text
print(json.dumps(found))
