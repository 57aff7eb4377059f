// openai-node: what it makes of each answer. The argument is the address of the API.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none" });
const body = (content, more) => ({
  model: "fleet-light", messages: [{ role: "user", content }], ...more,
});
const ask = (content, more) => client.chat.completions.create(body(content, more));

async function failure(call) {
  try {
    await call();
  } catch (error) {
    return [error.constructor.name, error.code ?? null, error.param ?? null];
  }
  return ["no error"];
}

async function streamed(content, more) {
  const found = { text: "", reasoning: "", finish: [], tokens: [] };
  for await (const chunk of await ask(content, { stream: true, ...more })) {
    if (chunk.usage) found.tokens.push(chunk.usage.total_tokens);
    for (const choice of chunk.choices) {
      found.text += choice.delta.content ?? "";
      found.reasoning += choice.delta.reasoning_content ?? "";
      if (choice.finish_reason) found.finish.push(choice.finish_reason);
    }
  }
  return found;
}

async function left() {
  for await (const chunk of await ask("stay", { stream: true })) {
    if (chunk.choices[0].delta.content) break;
  }
}

async function helper() {
  const stream = client.chat.completions.stream(body("hello"));
  return await stream.finalContent();
}

const models = [];
for await (const model of client.models.list()) models.push(model.id);
const { data, response } = await client.chat.completions
  .create(body("hello", { seed: 1 })).withResponse();
const whole = await ask("think");
await left();
console.log(JSON.stringify({
  models,
  model: (await client.models.retrieve("fleet")).id,
  text: whole.choices[0].message.content,
  reasoning: whole.choices[0].message.reasoning_content,
  tokens: whole.usage.total_tokens,
  stream: await streamed("think"),
  "stream with usage": await streamed("think", { stream_options: { include_usage: true } }),
  "silent stream": (await streamed("silent")).text,
  helper: await helper(),
  raw: [response.headers.get("fleet-ignored"), data.choices[0].message.content],
  "no token": await failure(() =>
    new OpenAI({ baseURL: process.argv[2], apiKey: "fleet_0123abcd_" + "x".repeat(51) })
      .models.list()),
  "no model": await failure(() => ask("hello", { model: "gpt-9" })),
  bad: await failure(() => ask("hello", { n: 2 })),
  fails: await failure(() => ask("fails")),
  "fails late": await failure(() => ask("fails late in node")),
  cut: await failure(() => streamed("cut")),
}));
