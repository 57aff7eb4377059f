// openai-node: the Responses plain, streamed, in the background, resumed and cancelled.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none" });
const found = {};
const ask = { model: "fleet-light" };

const plain = await client.responses.create({ ...ask, input: "What is the answer?" });
found.plain = [plain.output_text, plain.status];

const stream = client.responses.stream({ ...ask, input: "What is the answer?" });
let deltas = "";
stream.on("response.output_text.delta", (event) => (deltas += event.delta));
const final = await stream.finalResponse();
found.stream = [deltas, final.output_text];

found.pings = (await client.responses.stream({ ...ask, input: "pings" }).finalResponse()).output_text;

const told = [];
const begun = await client.responses.create({
  ...ask,
  input: "slow",
  background: true,
  stream: true,
});
for await (const event of begun) {
  told.push(event);
  if (event.type === "response.output_text.delta") break;
}
const id = told[0].response.id;
const starting_after = told.at(-1).sequence_number;
const rest = await client.responses.retrieve(id, { stream: true, starting_after });
for await (const event of rest) told.push(event);
found.numbers = told.every((event, number) => event.sequence_number === number);
found.background = (await client.responses.retrieve(id)).output_text;

const held = await client.responses.create({ ...ask, input: "hang", background: true });
found.cancelled = (await client.responses.cancel(held.id)).status;

try {
  await client.responses.retrieve("resp_unknown");
} catch (error) {
  found.unknown = [error.constructor.name, error.status, error.code];
}
console.log(JSON.stringify(found));
