"""Ask with the project's client, whose two files stand alone in a folder. Print the results."""

import asyncio
import json
import sys

sys.path.insert(0, sys.argv[1])

from client import Fleet, Refused, ask, question


async def main(url: str) -> None:
    found = {"modules": "django" in sys.modules}
    answer = await ask("What is the answer?", url)
    found["answer"] = [answer.text, answer.status, answer.path]
    kinds = []
    async with Fleet(url).follow(question("What is the answer?")) as run:
        async for event in run:
            kinds.append(type(event).__name__)
    found["kinds"] = [kinds[0], kinds[-1]]
    try:
        await ask("Hello?", url, token="fleet_wrong")
    except Refused as exc:
        found["refused"] = exc.error.code
    print(json.dumps(found))


asyncio.run(main(sys.argv[2]))
