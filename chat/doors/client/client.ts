// A client of AgenticFleet for browsers, Node, Deno and Bun: this file and protocol.ts.
//
//   const fleet = new Fleet("http://127.0.0.1:8000", { token: "fleet_…" });
//   for await (const event of fleet.ask({ message: "What is 12 * 7?" })) {
//     if (event.type === "response.delta") process.stdout.write(event.delta);
//   }
//
// It follows runs over Server-Sent Events. A connection that breaks, or is silent for too long, is
// opened again and goes on where it stopped. Events of types that it doesn't know come as they are.

import type { ChatRequest, ReplyRequest, StreamEvent } from "./protocol.ts";

/** A question without its id, or a reply to a run that has paused. */
export type Asked = Omit<ChatRequest, "message_id"> | Omit<ReplyRequest, "message_id">;

export interface Run {
  run: string;
  conversation: string;
}

export interface Options {
  token?: string;
  /** Milliseconds after which a connection counts as broken: the server writes every 5 s. */
  silence?: number;
  /** Milliseconds without an event or a beat, until a run is given up. */
  patience?: number;
  fetch?: typeof fetch;
}

/** What the server refuses, with the code that says why; or that it can't be reached. */
export class FleetError extends Error {
  status: number;
  code: string;

  constructor(message: string, status = 0, code = "unreachable") {
    super(message);
    this.name = "FleetError";
    this.status = status;
    this.code = code;
  }
}

const FIRST_PAUSE = 100;
const LONGEST_PAUSE = 3000;

export class Fleet {
  #url: string;
  #options: Required<Omit<Options, "token">>;
  #headers: Record<string, string>;

  constructor(url = "http://127.0.0.1:8000", options: Options = {}) {
    this.#url = url.replace(/\/$/, "");
    this.#options = {
      silence: options.silence ?? 12_000,
      patience: options.patience ?? 60_000,
      fetch: options.fetch ?? ((...words) => fetch(...words)),
    };
    this.#headers = options.token ? { authorization: `Bearer ${options.token}` } : {};
  }

  /** Yields the events of a new run, up to `done` or `error`. */
  async *ask(asked: Asked): AsyncGenerator<StreamEvent, void> {
    const { run } = await this.start(asked);
    yield* this.follow(run);
  }

  /** Starts a run. The same id is sent again if the connection breaks, so that it starts once. */
  async start(asked: Asked): Promise<Run> {
    const body = JSON.stringify({ ...asked, message_id: crypto.randomUUID() });
    const headers = { ...this.#headers, "content-type": "application/json" };
    const request = { method: "POST", headers, body };
    const response = await this.#again(() => this.#call("/api/v1/runs", request));
    return (await response.json()) as Run;
  }

  /** Yields the events of a run behind `after`, the last seq that is known. */
  async *follow(run: string, after = 0): AsyncGenerator<StreamEvent, void> {
    let heardAt = Date.now();
    for (let attempt = 0; ; attempt += 1) {
      const silence = new AbortController();
      let timer = setTimeout(() => silence.abort(), this.#options.silence);
      const alive = () => {
        clearTimeout(timer);
        timer = setTimeout(() => silence.abort(), this.#options.silence);
        heardAt = Date.now();
        attempt = 0;
      };
      try {
        const path = `/api/v1/runs/${run}/events?after=${after}`;
        const headers = { ...this.#headers, accept: "text/event-stream" };
        const response = await this.#call(path, { headers, signal: silence.signal });
        if (response.status === 204) return;
        for await (const event of events(response, alive)) {
          // The response ends, not the run.
          if (event.type === "error" && !event.data.status && event.error.retryable) break;
          after = Math.max(after, event.seq);
          yield event;
          if (event.type === "done" || event.type === "error") return;
        }
      } catch (cause) {
        if (!isPassing(cause)) throw cause;
      } finally {
        clearTimeout(timer);
        silence.abort();
      }
      if (Date.now() - heardAt > this.#options.patience) {
        throw new FleetError(`${this.#url} can't be reached any more.`);
      }
      await pause(attempt);
    }
  }

  /** Asks the server to end a run. Its last events still come to those who follow it. */
  async cancel(run: string): Promise<void> {
    await this.#call(`/api/v1/runs/${run}/cancel`, { method: "POST", headers: this.#headers });
  }

  async #call(path: string, request: RequestInit): Promise<Response> {
    const response = await this.#options.fetch(`${this.#url}${path}`, request);
    if (response.ok) return response;
    const { error } = (await response.json().catch(() => ({}))) as {
      error?: { message: string; code: string };
    };
    throw new FleetError(error?.message ?? response.statusText, response.status, error?.code ?? "");
  }

  async #again(call: () => Promise<Response>): Promise<Response> {
    const began = Date.now();
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await call();
      } catch (cause) {
        const isLate = Date.now() - began > this.#options.silence;
        if (cause instanceof FleetError || isLate) throw cause;
        await pause(attempt);
      }
    }
  }
}

/** Yields the events of a response, as Server-Sent Events have them. */
async function* events(response: Response, alive: () => void): AsyncGenerator<StreamEvent, void> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      alive();
      const lines = (rest + value).split("\n");
      rest = lines.pop()!;
      // Each event is one line of data. Other lines are ids, comments, and what ends an event.
      for (const line of lines) {
        if (line.startsWith("data: ")) yield JSON.parse(line.slice(6)) as StreamEvent;
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** Tells whether a request may succeed in a moment: the network failed, or the server restarts. */
function isPassing(cause: unknown): boolean {
  return !(cause instanceof FleetError) || [502, 503, 504].includes(cause.status);
}

function pause(attempt: number): Promise<void> {
  const longest = Math.min(FIRST_PAUSE * 2 ** attempt, LONGEST_PAUSE);
  return new Promise((resolve) => setTimeout(resolve, (longest * (1 + Math.random())) / 2));
}
