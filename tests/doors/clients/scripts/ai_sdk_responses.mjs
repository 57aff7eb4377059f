// The AI SDK with @ai-sdk/openai, whose default are the Responses.
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, streamText } from "ai";

const openai = createOpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none" });
const model = openai("fleet-light");
const found = {};

const plain = await generateText({ model, prompt: "What is the answer?" });
found.plain = [plain.text, plain.finishReason, plain.usage.outputTokens > 0];

const kinds = new Set();
const stream = streamText({ model, prompt: "think" });
for await (const part of stream.fullStream) kinds.add(part.type);
found.stream = [await stream.text, (await stream.reasoningText).includes("Hm."), [...kinds]];

found.pings = await streamText({ model, prompt: "pings" }).text;

// Earlier answers are sent as references to them.
const messages = [
  { role: "user", content: "What is the answer?" },
  ...(await plain.response).messages,
  { role: "user", content: "Why?" },
];
found.chat = (await generateText({ model, messages })).text;

const searched = streamText({
  model,
  prompt: "search",
  tools: { web_search: openai.tools.webSearch({}) },
});
const parts = [];
for await (const part of searched.fullStream) parts.push(part);
found.search = [
  await searched.text,
  (await searched.sources).map((source) => source.url),
  parts.filter((part) => part.type.startsWith("tool-")).map((part) => part.type),
  parts.filter((part) => part.type === "error").length,
];

// Without the tool, searches are lines of thinking.
const quiet = await generateText({ model, prompt: "search" });
found.quiet = [quiet.text, quiet.toolCalls.length];

let failure;
const cut = streamText({ model, prompt: "cut", onError: ({ error }) => (failure = error) });
for await (const part of cut.fullStream);
found.cut = [await cut.finishReason, failure !== undefined];

try {
  await generateText({ model, prompt: "x".repeat(32001), maxRetries: 0 });
} catch (error) {
  found.refused = [error.name, error.statusCode];
}
console.log(JSON.stringify(found));
