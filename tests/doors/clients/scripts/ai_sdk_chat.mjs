// The AI SDK with its provider for servers that are like OpenAI's.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";

const fleet = createOpenAICompatible({
  name: "fleet", baseURL: process.argv[2], apiKey: "none", includeUsage: true,
});
const model = fleet("fleet-light");

async function streamed(prompt) {
  const kinds = [];
  const result = streamText({ model, prompt, maxRetries: 0, onError() {} });
  let text = "";
  let reasoning = "";
  let error = null;
  for await (const part of result.fullStream) {
    if (kinds.at(-1) !== part.type) kinds.push(part.type);
    if (part.type === "text-delta") text += part.text;
    if (part.type === "reasoning-delta") reasoning += part.text;
    if (part.type === "error") error = String(part.error?.message ?? part.error);
  }
  return { text, reasoning, kinds, error };
}

const whole = await generateText({ model, prompt: "think", maxRetries: 0 });
const streaming = streamText({ model, prompt: "think", maxRetries: 0 });
await streaming.consumeStream();
let failure = null;
try {
  await generateText({ model, prompt: "fails late in the SDK" });
} catch (error) {
  failure = error.constructor.name;
}
console.log(JSON.stringify({
  text: whole.text,
  reasoning: whole.reasoningText,
  tokens: whole.usage.totalTokens,
  finish: whole.finishReason,
  stream: await streamed("think"),
  "stream tokens": (await streaming.usage).totalTokens,
  cut: await streamed("cut"),
  failure,
}));
