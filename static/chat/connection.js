// Follow one answer over a WebSocket that may break. There is no DOM here: an observer is told what
// happens, and shows it.
//
//                    socket closed
//            ┌───────────────────────────┐
//            ▼                           │
//   ──► connecting ── first frame ───► open ── terminal event ──► over
//            │                         ▲  │
//            │ 1.5 s      first frame  │  │ silence,
//            │          ┌──────────────┘  │ shutting_down
//            └──────► lost ◄──────────────┘
//
//   any of them ── conversation_busy ──► waiting ── first event ──► open
//   any of them ── storage_unavailable ──► lost, and asked again
//   any of them ── any other refusal, close() ──► over
//
// In `connecting` and in `lost` the socket tries again by itself; the difference is that in `lost`
// the reader has been told. `waiting` lasts through lost connections, because the question itself
// still waits: the reader can take it back, and there is no run that a cancel could stop.

import ReconnectingWebSocket from "../vendor/reconnecting-websocket/reconnecting-websocket.mjs";

/** @typedef {"connecting" | "open" | "lost" | "waiting" | "over"} State */

/**
 * Why nothing is received. `network`: the socket closed or fell silent. `restarting`: the worker
 * takes no new questions. `limited`: too many sockets for now. `storage`: the server's database does
 * not answer or takes nothing now. `unreachable`: every try failed. `blocked`: the server is there, but
 * a proxy on the way lets no socket through. After these two only retryNow() tries again. `held`:
 * sockets open, but bring nothing.
 * @typedef {"network" | "restarting" | "limited" | "storage" | "unreachable" | "blocked" | "held"} Loss
 */

/** @typedef {{ seq: number, workflow_id: string, html?: string }} Envelope */
/**
 * `continues`: the paused run that this one goes on with, in its article.
 * @typedef {{ conversation_id: string, continues?: string | null }} ConnectedData
 */
/** @typedef {Envelope & { type: "connected", data: ConnectedData }} Connected */
/** @typedef {Envelope & { type: "heartbeat", data: { silent_ms: number } }} Heartbeat */
/** @typedef {"completed" | "cancelled" | "paused"} Status */
/** @typedef {Envelope & { type: "done", data: { status: Status } }} Done */
/**
 * `retry_after_s`: seconds until the same may be tried again, if they are known.
 * @typedef {{ code: string, message: string, retry_after_s?: number }} Fault
 */
/** @typedef {Envelope & { type: "error", error: Fault }} Failure */
/**
 * Any other kind of event only brings markup, as a delta does.
 * @typedef {Envelope & { type: "notice" | "resumed" | "response.snapshot" | "response.delta" }} Marked
 */
/** @typedef {Envelope & { type: "routing.decided", data: { path: "light" | "full" } }} Routed */
/** @typedef {Marked | Routed} Shown */
/** @typedef {Connected | Heartbeat | Done | Failure | Shown} StreamEvent */

/**
 * The first frame of every socket, without its cursor: a ChatRequest of chat/protocol.
 * @typedef {object} Question
 * @property {string} message
 * @property {string} message_id
 * @property {string | null} conversation_id
 * @property {string} mode
 * @property {string | null} model
 * @property {string | null} reasoning_effort
 * @property {boolean} fresh
 * @property {string | null} rerun_of
 * @property {string | null} [branch_of]
 */

/**
 * What a reader decided about one ask.
 * @typedef {object} AskReply
 * @property {string} ask_id
 * @property {string} decision
 * @property {object} [arguments]
 * @property {string} [text]
 * @property {boolean} [remember]
 */

/**
 * The first frame that answers what the paused run `continues` asks: a ReplyRequest.
 * @typedef {object} Replies
 * @property {"reply"} type
 * @property {string} message_id
 * @property {string} continues
 * @property {AskReply[]} replies
 */

/** @typedef {Question | Replies} Request */

/**
 * @typedef {object} Observer
 * @property {(event: Connected | Done | Failure | Shown) => void} received an event to be shown
 * @property {(event: Done | Failure) => void} ended the terminal event has been received
 * @property {(event: Failure) => void} refused nothing was started, and nothing will be
 * @property {() => void} waiting refused as busy: another answer is being written; it asks again
 * @property {() => void} accepted a question that was waiting is being answered
 * @property {(why: Loss, event?: Failure) => void} lost
 * @property {() => void} reconnected
 * @property {(ms: number | null) => void} quiet how long the model has been quiet; null: it is not
 */

const SUBPROTOCOL = "fleet.html.v1";
const MIN_SILENCE = 12_000; // ms without a frame before a connection counts as lost, at least
const HEARTBEAT_DELAY = 2_000; // ms by which a heartbeat may be late
const MODEL_QUIET = 12_000; // ms without a sign of the model after which the reader is told
const MAX_RETRIES = 40;
// ms in which a closed socket may come back before the reader is told. Some proxies cut each
// connection once a minute.
const LOSS_DELAY = 1_500;
const CERTAIN = 2; // times in a row that a cause is found before the reader is told
// Statuses of plain requests for the address of the socket: the server itself answers 426. With the
// others, which it never sends there, a proxy says that it passes nothing on.
const NO_SOCKETS = [400, 404, 405, 426, 501];
const BUSY_RETRY = 3_000; // ms between tries while another answer is written in the conversation
const RESTART_RETRY = 1_000; // ms
const STORAGE_RETRY = 1_000; // ms until the first try while the database takes nothing
const MAX_STORAGE_RETRY = 10_000; // ms
const OPTIONS = {
  // Random, so that the pages of a restarted server do not all come back at the same moment.
  minReconnectionDelay: 250 + Math.random() * 500,
  reconnectionDelayGrowFactor: 1.5,
  maxReconnectionDelay: 3_000,
  maxRetries: MAX_RETRIES,
  connectionTimeout: 4_000,
  maxEnqueuedMessages: 0, // the request is sent on every open, with the cursor of that moment
};

export class Connection {
  /** @type {State} */
  state = "connecting";
  isStopping = false;
  cursor = 0; // the last seq that was shown
  failures = 0; // closed sockets since the last event
  storageRefusals = 0; // since the last event
  unopened = 0; // sockets that could not be opened, since the last one that was
  blocked = 0; // of these, how many in a row while the server answered plain requests
  isLooking = false; // for the cause
  unheard = 0; // sockets in a row that were opened and brought nothing
  heardAt = 0; // when the last frame arrived, on the clock of performance.now()
  /** @type {number | null} When the model was last at work, if it has been quiet for long. */
  quietSince = null;
  /** @type {ReconnectingWebSocket | null} */
  socket = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} What this state does next by itself. */
  timer = undefined;

  /**
   * @param {object} options
   * @param {string} options.url
   * @param {Request} options.request
   * @param {Observer} options.observer
   * @param {number} options.heartbeat ms after which the server sends a frame if it sent nothing else
   * @param {boolean} options.isBegun the server is known to have the run
   */
  constructor({ url, request, observer, heartbeat, isBegun }) {
    this.url = url;
    this.request = request;
    this.observer = observer;
    // Two heartbeats: one may be delayed by a busy server or network.
    this.silence = Math.max(MIN_SILENCE, 2 * heartbeat + HEARTBEAT_DELAY);
    this.isBegun = isBegun;
  }

  /** Send the request on a new socket, which replaces the old one. */
  open() {
    this.disconnect();
    if (this.state === "open") this.state = "connecting";
    const socket = new ReconnectingWebSocket(this.url, [SUBPROTOCOL], OPTIONS);
    this.socket = socket;
    // close() waits for the other end, so a replaced socket may still deliver frames. Ignore them.
    const isCurrent = () => socket === this.socket;
    socket.addEventListener("open", () => isCurrent() && this.ask(socket));
    socket.addEventListener("message", ({ data }) => isCurrent() && this.receive(JSON.parse(data)));
    socket.addEventListener("close", () => isCurrent() && this.failed());
  }

  /** @param {ReconnectingWebSocket} socket */
  ask(socket) {
    this.heardAt = performance.now();
    this.unopened = this.blocked = 0;
    this.unheard += 1;
    socket.send(JSON.stringify({ ...this.request, after: this.cursor }));
    if (this.isStopping) this.sendCancel();
  }

  /** Close the socket and leave the state as it is: open() continues from here. */
  disconnect() {
    const { socket } = this;
    this.socket = null;
    this.setTimer(undefined);
    socket?.close();
  }

  /** Close for good. */
  close() {
    this.disconnect();
    this.state = "over";
  }

  /** Stop the run: now, and again on every new socket until the server says that it has ended. */
  stop() {
    this.isStopping = true;
    this.sendCancel();
  }

  sendCancel() {
    this.socket?.send('{"type":"cancel"}');
  }

  retryNow() {
    this.failures = this.unopened = this.blocked = this.unheard = 0;
    this.lose("network");
    this.open();
  }

  /** Replace a socket that has gone silent, and report a quiet model. To be called every second. */
  check() {
    const now = performance.now();
    if (this.socket?.readyState === WebSocket.OPEN && now - this.heardAt > this.silence) {
      // The connection is half open: no close event will arrive.
      const isHeld = this.unheard >= CERTAIN;
      this.lose(isHeld ? "held" : "network");
      if (isHeld) this.askPlainly("unheard");
      this.open();
    } else if (this.socket && this.quietSince !== null && this.state !== "lost") {
      this.observer.quiet(now - this.quietSince);
    }
  }

  // --- Frames

  /** @param {StreamEvent} event */
  receive(event) {
    this.heard(event);
    if (event.type === "heartbeat") {
      this.setQuiet(event.data.silent_ms);
    } else if (event.type === "notice") {
      this.observer.received(event); // it has the seq of the last event, not one of its own
    } else if (event.type === "error" && isRefusal(event)) {
      this.refused(event);
    } else {
      this.follow(event);
    }
  }

  /** @param {StreamEvent} event */
  heard(event) {
    this.heardAt = performance.now();
    this.unheard = 0;
    this.setTimer(undefined);
    // While the database takes nothing, sockets open, and bring heartbeats before their refusal.
    if (this.isHeldUp && !isOfRun(event)) return;
    if (this.state === "lost") this.observer.reconnected();
    if (this.state !== "waiting") this.state = "open";
  }

  /** True if the database took nothing when it was last asked. */
  get isHeldUp() {
    return this.state === "lost" && this.storageRefusals > 0;
  }

  /** True if the server has not taken the question, and it is asked again. */
  get isWaiting() {
    return this.state === "waiting" || (this.isHeldUp && !this.isBegun);
  }

  /** @param {Connected | Done | Failure | Shown} event */
  follow(event) {
    const isTerminal = event.type === "done" || event.type === "error";
    // After a rejoin events may come twice. A snapshot may be behind the cursor and still hold more
    // text than the page; a terminal event is always taken, because the page must not wait on.
    // The snapshot of a worker that took the run over may jump to the next multiple of 10,000,000.
    const isKnown = event.seq <= this.cursor;
    if (isKnown && !isTerminal && event.type !== "response.snapshot") return;
    this.cursor = Math.max(this.cursor, event.seq);
    this.failures = this.storageRefusals = 0;
    this.isBegun = true;
    if (this.state === "waiting") {
      this.state = "open";
      this.observer.accepted();
    }
    this.setQuiet(0);
    this.observer.received(event);
    if (isTerminal) {
      this.close();
      this.observer.ended(event);
    }
  }

  /** @param {Failure} event */
  refused(event) {
    const { code, retry_after_s } = event.error;
    if (code === "conversation_busy") {
      this.openIn(BUSY_RETRY);
      this.state = "waiting";
      this.observer.waiting();
    } else if (code === "shutting_down") {
      // A worker that is about to exit takes nothing new; the others do, and so does the next one.
      this.openIn(RESTART_RETRY);
      this.lose("restarting");
    } else if (code === "too_many_requests" && this.isBegun) {
      // Of sockets: the answer goes on, and this page comes back to it.
      this.openIn((retry_after_s ?? BUSY_RETRY / 1000) * 1000);
      this.lose("limited", event);
    } else if (code === "storage_unavailable") {
      // If it was stored after all, its message_id joins the run.
      const grown = STORAGE_RETRY * 1.5 ** this.storageRefusals;
      this.openIn(Math.min(grown, MAX_STORAGE_RETRY) * (0.75 + Math.random() / 2));
      this.storageRefusals += 1;
      this.lose("storage", event);
    } else {
      this.close();
      this.observer.refused(event);
    }
  }

  /** @param {number} ms how long the run and its model have been silent */
  setQuiet(ms) {
    const wasQuiet = this.quietSince !== null;
    this.quietSince = ms >= MODEL_QUIET ? performance.now() - ms : null;
    if (this.quietSince !== null) this.check();
    else if (wasQuiet) this.observer.quiet(null);
  }

  // --- Failures

  failed() {
    this.failures += 1;
    if (this.failures > MAX_RETRIES) {
      this.disconnect();
      this.lose("unreachable");
      return;
    }
    if (this.state === "open") this.state = "connecting";
    this.timer ??= setTimeout(() => this.lose("network"), LOSS_DELAY);
    this.unopened += 1;
    // The first one may have met a server that was just starting.
    if (this.unopened > 1) this.findCause();
  }

  /** Find out if the server can be reached, and only sockets to it cannot be opened. */
  async findCause() {
    const { socket, unopened } = this;
    if (this.isLooking) return;
    this.isLooking = true;
    const status = await this.askPlainly("unopened");
    this.isLooking = false;
    // Meanwhile a socket may have been opened, or the page left.
    if (socket !== this.socket || this.unopened < unopened) return;
    this.blocked = NO_SOCKETS.includes(status) ? this.blocked + 1 : 0;
    if (this.blocked < CERTAIN) return;
    this.disconnect();
    this.lose("blocked");
  }

  /**
   * Ask for the address of the socket without one, which also tells the operator; return the status
   * of the answer, 0 if there is none.
   * @param {"unopened" | "unheard"} complaint
   */
  async askPlainly(complaint) {
    const url = new URL(this.url);
    url.protocol = url.protocol.replace("ws", "http");
    url.search = `?socket=${complaint}`;
    const response = await fetch(url).catch(() => null);
    return response?.status ?? 0;
  }

  /**
   * @param {Loss} why
   * @param {Failure} [event] that says why
   */
  lose(why, event) {
    if (this.state !== "waiting") this.state = "lost";
    this.observer.lost(why, event);
  }

  /** @param {number} ms */
  openIn(ms) {
    this.disconnect();
    this.setTimer(setTimeout(() => this.open(), ms));
  }

  /** @param {ReturnType<typeof setTimeout> | undefined} timer */
  setTimer(timer) {
    clearTimeout(this.timer);
    this.timer = timer;
  }
}

/**
 * Return true if nothing was started, or if the run cannot be read now.
 * @param {Failure} event
 */
function isRefusal(event) {
  return !event.workflow_id || event.error.code === "storage_unavailable";
}

/**
 * Return true if the event shows that the run can be read.
 * @param {StreamEvent} event
 */
function isOfRun(event) {
  const isAside = event.type === "heartbeat" || event.type === "notice";
  return !isAside && !(event.type === "error" && isRefusal(event));
}

/** Return a new message_id. */
export function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  // Without https there is no randomUUID.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
