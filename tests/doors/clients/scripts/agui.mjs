// HttpAgent of @ag-ui/client, as an application uses it. Prints what it has after each run.
import { readFileSync } from "node:fs";

import { HttpAgent, buildResumeArray } from "@ag-ui/client";

const [url, scene, ...words] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${words.at(-1)}` };
const runs = [];
const warnings = [];
console.warn = (...parts) => warnings.push(parts.join(" "));
console.error = () => {};

function agentOf(options = {}) {
  const agent = new HttpAgent({ url: `${url}agui`, headers, ...options });
  const user = (content) => agent.addMessage({ id: crypto.randomUUID(), role: "user", content });
  return { agent, user };
}

// Run it once, and note what the application sees.
async function run(agent, parameters = {}, subscriber = {}) {
  const types = [];
  let outcome = null;
  let failure = null;
  try {
    await agent.runAgent(parameters, {
      ...subscriber,
      onEvent: ({ event }) => {
        types.push(event.type);
      },
      onRunFinishedEvent: (finished) => {
        outcome = finished.outcome;
      },
      onRunErrorEvent: ({ event }) => {
        outcome = event.code;
      },
    });
  } catch (error) {
    failure = { status: error.status, message: error.message, error: error.payload?.error };
  }
  runs.push({
    types,
    outcome,
    failure,
    messages: agent.messages,
    interrupts: agent.pendingInterrupts,
  });
}

const RETRY = 200; // ms

// A fetch whose body goes on with Last-Event-ID when its connection breaks. It breaks by itself
// after so many messages.
function readingOn(count = Infinity) {
  return async (address, request) => {
    let seen = "";
    async function* pieces(first) {
      let next = first;
      while (next?.status !== 204) {
        try {
          yield* messages(next);
        } catch {
          await new Promise((resolve) => setTimeout(resolve, RETRY));
        }
        const again = { ...request.headers, "Last-Event-ID": seen };
        next = await fetch(address, { ...request, headers: again }).catch(() => null);
      }
    }
    async function* messages(response) {
      if (!response?.ok) throw new Error("not there");
      let rest = "";
      let taken = 0;
      for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
        const blocks = (rest + piece).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) {
          seen = block.match(/^id: (.*)$/m)?.[1] ?? seen;
          yield new TextEncoder().encode(`${block}\n\n`);
          taken += 1;
          if (taken === count) return;
        }
      }
    }
    const response = await fetch(address, request);
    if (!response.ok) return response;
    return new Response(ReadableStream.from(pieces(response)), { headers: response.headers });
  };
}

const scenes = {
  async ask([...questions]) {
    const { agent, user } = agentOf();
    for (const question of questions) {
      user(question);
      await run(agent);
    }
  },

  async refused() {
    const { agent, user } = agentOf();
    user("Never asked");
    await run(agent, { forwardedProps: { fleet: { mode: "best" } } });
  },

  // Leave at the first word.
  async abort([question, threadId, runId]) {
    const { agent, user } = agentOf({ threadId });
    user(question);
    const stop = { onTextMessageContentEvent: () => agent.abortRun() };
    await run(agent, { runId }, stop);
  },

  async join([question, threadId, runId]) {
    const { agent, user } = agentOf({ threadId });
    user(question);
    await run(agent, { runId });
  },

  async rejoin([question, count]) {
    const { agent, user } = agentOf({ fetch: readingOn(Number(count)) });
    user(question);
    await run(agent, { forwardedProps: { fleet: { on_disconnect: "continue" } } });
  },

  async survive([question]) {
    const { agent, user } = agentOf({ fetch: readingOn() });
    user(question);
    await run(agent);
  },

  async resume([question, ...payloads]) {
    const { agent, user } = agentOf();
    user(question);
    await run(agent);
    for (const payload of payloads) {
      const reply =
        payload === "cancelled"
          ? { status: payload }
          : { status: "resolved", payload: JSON.parse(payload) };
      const replies = agent.pendingInterrupts.map((interrupt) => [interrupt.id, reply]);
      const resume = buildResumeArray(agent.pendingInterrupts, Object.fromEntries(replies));
      await run(agent, { resume });
    }
  },

  // Bodies that were written before, each a run of its own.
  async recorded([file]) {
    for (const { name, messages, body } of JSON.parse(readFileSync(file, "utf8"))) {
      const kept = { headers: { "content-type": "text/event-stream" } };
      const { agent } = agentOf({ fetch: async () => new Response(body, kept) });
      agent.messages = messages;
      await run(agent);
      runs.at(-1).name = name;
    }
  },
};

await scenes[scene](words.slice(0, -1));
process.stdout.write(JSON.stringify({ runs, warnings }), () => process.exit(0));
