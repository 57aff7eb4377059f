// Only compiled: `type` tells the compiler which event it is.

import type { Request, StreamEvent } from "../../../../chat/doors/client/protocol.ts";

export function words(event: StreamEvent): string {
  switch (event.type) {
    case "response.delta":
      return event.delta;
    case "tool.complete":
      return event.data.sources.map((source) => source.title).join();
    case "done":
      return event.data.status ?? "refused";
    case "error": {
      const again: number | undefined = event.error.retry_after_s;
      return `${event.error.code} ${again}`;
    }
    case "agent.start":
      return event.data.task ?? event.author;
    default:
      // @ts-expect-error: of those that are left, not all have one
      return event.delta;
  }
}

export function sequence(event: StreamEvent): number {
  // What every event carries is always there.
  return event.seq + event.timestamp.length + event.ui_hint.component.length;
}

export const asked: Request = { message: "Hello?", message_id: "…", mode: "light" };
// @ts-expect-error: there is no such mode
export const misspelt: Request = { message: "Hello?", message_id: "…", mode: "lihgt" };
// @ts-expect-error: a request needs its id
export const anonymous: Request = { message: "Hello?" };
