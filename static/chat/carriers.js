// What carries an answer's frames to the page: a WebSocket or, where a proxy lets none through, a
// response that stays open. Both are used alike, and know nothing of the frames.

import ReconnectingWebSocket from "../vendor/reconnecting-websocket/reconnecting-websocket.mjs";

/** @import { Request, StreamEvent } from "./connection.js" */

/**
 * What a carrier reports, until it is closed.
 * @typedef {object} Listener
 * @property {() => void} opened the request can be sent
 * @property {(event: StreamEvent) => void} received
 * @property {(status: number) => void} failed it brings nothing more; `status`: what was answered
 *   in place of frames, or 0
 */

/** @typedef {Request & { after: number }} FirstFrame */

const SUBPROTOCOL = "fleet.html.v1";
// ms. Random, so that the pages of a restarted server do not all come back at the same moment.
const MIN_DELAY = 250 + Math.random() * 500;
const DELAY_FACTOR = 1.5;
const MAX_DELAY = 3_000;
const OPTIONS = {
  minReconnectionDelay: MIN_DELAY,
  reconnectionDelayGrowFactor: DELAY_FACTOR,
  maxReconnectionDelay: MAX_DELAY,
  maxRetries: Infinity, // the connection counts
  maxEnqueuedMessages: 0, // the request is sent on every open, with the cursor of that moment
};

/**
 * Return how long to wait before the next try, in ms.
 * @param {number} failures how many tries have failed
 */
export function delayAfter(failures) {
  return Math.min(MIN_DELAY * DELAY_FACTOR ** (failures - 1), MAX_DELAY);
}

/** A WebSocket that opens again by itself. */
export class SocketCarrier {
  isClosed = false;

  /**
   * @param {string} url
   * @param {Listener} listener
   * @param {number} patience ms in which it must open
   */
  constructor(url, listener, patience) {
    const options = { ...OPTIONS, connectionTimeout: patience };
    const socket = new ReconnectingWebSocket(url, [SUBPROTOCOL], options);
    this.socket = socket;
    // close() waits for the other end, so a closed socket may still deliver frames. Ignore them.
    socket.addEventListener("open", () => this.isClosed || listener.opened());
    socket.addEventListener("message", ({ data }) => {
      if (!this.isClosed) listener.received(JSON.parse(data));
    });
    socket.addEventListener("close", () => this.isClosed || listener.failed(0));
  }

  /** True if frames may arrive. */
  get isOpen() {
    return this.socket.readyState === WebSocket.OPEN;
  }

  /** @param {FirstFrame} request */
  ask(request) {
    this.socket.send(JSON.stringify(request));
  }

  cancel() {
    this.socket.send('{"type":"cancel"}');
  }

  close() {
    this.isClosed = true;
    this.socket.close();
  }
}

/** A response that stays open, with the frames as Server-Sent Events. It doesn't come back. */
export class StreamCarrier {
  isClosed = false;
  isOpen = false; // frames may arrive
  isCancelling = false;
  abort = new AbortController();
  messageId = "";

  /**
   * @param {string} url of the socket
   * @param {Listener} listener
   * @param {string} complaint what the operator is told of sockets; empty: nothing
   */
  constructor(url, listener, complaint) {
    this.url = new URL(url);
    this.url.protocol = this.url.protocol.replace("ws", "http");
    this.cancelUrl = new URL(`cancel/${this.url.search}`, this.url);
    if (complaint) this.url.searchParams.set("socket", complaint);
    this.listener = listener;
    queueMicrotask(() => this.isClosed || listener.opened());
  }

  /** @param {FirstFrame} request */
  async ask(request) {
    this.isOpen = true;
    this.messageId = request.message_id;
    const response = await this.post(this.url, request);
    const isStream = response?.headers.get("Content-Type")?.startsWith("text/event-stream");
    if (response?.body && isStream) await this.read(response.body);
    this.isOpen = false;
    if (!this.isClosed) this.listener.failed(isStream ? 0 : (response?.status ?? 0));
  }

  /**
   * Pass the events on until there are no more, or the connection breaks.
   * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
   */
  async read(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    while (!this.isClosed) {
      const { value } = await reader.read().catch(() => ({ value: undefined }));
      if (value === undefined) return;
      const events = (rest + value).split("\n\n");
      rest = /** @type {string} */ (events.pop());
      for (const event of events) this.deliver(event);
    }
  }

  /** @param {string} text an event without its blank line */
  deliver(text) {
    // Not by a pattern, whose lines also end at U+2028.
    const data = text.split("\n").find((line) => line.startsWith("data: "));
    if (!data || this.isClosed) return;
    try {
      this.listener.received(JSON.parse(data.slice("data: ".length)));
    } catch (error) {
      reportError(error); // as that of a socket's frame: the next one is delivered all the same
    }
  }

  /** Have the run cancelled: again, while the server doesn't know it or can't be reached. */
  async cancel() {
    if (this.isCancelling) return;
    this.isCancelling = true;
    for (let failures = 1; !this.isClosed; failures += 1) {
      const body = { type: "cancel", message_id: this.messageId };
      const response = await this.post(this.cancelUrl, body);
      if (response?.ok || response?.status === 403) break;
      await new Promise((resolve) => setTimeout(resolve, delayAfter(failures)));
    }
    this.isCancelling = false;
  }

  /**
   * @param {URL} url
   * @param {object} body
   */
  post(url, body) {
    return fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal: this.abort.signal,
    }).catch(() => null);
  }

  close() {
    this.isClosed = true;
    this.abort.abort();
  }
}
