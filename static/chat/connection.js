// Follow one answer over a connection that may break. There is no DOM here: an observer is told
// what happens, and shows it.
//
//                  connection closed
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
// In `connecting` and in `lost` it tries again by itself; the difference is that in `lost` the
// reader has been told. `waiting` lasts through lost connections, because the question itself still
// waits: the reader can take it back, and there is no run that a cancel could stop.
//
// Each question is first asked over a WebSocket. After two tries in a row that brought nothing, the
// next one goes over HTTP, and so on by turns, until something arrives: that way is kept.

import { delayAfter, SocketCarrier, StreamCarrier } from "./carriers.js";

/** @typedef {"connecting" | "open" | "lost" | "waiting" | "over"} State */

/**
 * Why nothing is received. `network`: the connection closed or fell silent. `restarting`: the
 * worker takes no new questions. `limited`: too many sockets for now. `storage`: the server's
 * database does not answer or takes nothing now. `unreachable`: every try failed. `blocked`: a proxy
 * on the way lets neither sockets nor streams through. After these two only retryNow() tries again.
 * `held`: connections open, but bring nothing.
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
 * @property {string | null} preference
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

const MIN_SILENCE = 12_000; // ms without a frame before a connection counts as lost, at least
const HEARTBEAT_DELAY = 2_000; // ms by which a heartbeat may be late
const MODEL_QUIET = 12_000; // ms without a sign of the model after which the reader is told
const MAX_RETRIES = 40;
// ms in which a closed socket may come back before the reader is told. Some proxies cut each
// connection once a minute.
const LOSS_DELAY = 1_500;
const CERTAIN = 2; // tries in a row that must go wrong before anything is concluded
// Statuses in place of a stream with which a proxy, or an older server, says that there is none. A
// server that is starting, or away, is answered for with others.
const NO_STREAMS = [400, 403, 404, 405, 411, 413, 415, 426, 501];
const OPEN_TIMEOUT = 4_000; // ms in which a socket must open
// ms; the same, and MIN_SILENCE of one that has brought nothing, if none could be used before
const SUSPECT_TIMEOUT = 1_000;
const SUSPECT_SILENCE = 3_000;
const BUSY_RETRY = 3_000; // ms between tries while another answer is written in the conversation
const RESTART_RETRY = 1_000; // ms
const STORAGE_RETRY = 1_000; // ms until the first try while the database takes nothing
const MAX_STORAGE_RETRY = 10_000; // ms

/** True if the last question needed HTTP: the next one is not held up by a second try. */
let isSuspect = false;

export class Connection {
  /** @type {State} */
  state = "connecting";
  isStopping = false;
  cursor = 0; // the last seq that was shown
  isOverHttp = false;
  failures = 0; // closed connections since the last event
  storageRefusals = 0; // since the last event
  hasBrought = false; // this try has brought a frame
  fruitless = 0; // tries in a row that have brought none
  unheard = 0; // of these, how many were opened and fell silent
  blocked = 0; // of these, how many over HTTP were answered with one of NO_STREAMS
  /** What the operator is told with the next try. */
  complaint = "";
  heardAt = 0; // when the last frame arrived, on the clock of performance.now()
  /** @type {number | null} When the model was last at work, if it has been quiet for long. */
  quietSince = null;
  /** @type {SocketCarrier | StreamCarrier | null} */
  carrier = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} The next try. */
  timer = undefined;
  /** @type {ReturnType<typeof setTimeout> | undefined} Telling the reader of a loss. */
  lossTimer = undefined;

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

  /** Send the request on a new connection, which replaces the old one. */
  open() {
    this.drop();
    if (this.state === "open") this.state = "connecting";
    this.hasBrought = false;
    const listener = {
      opened: () => this.ask(),
      received: (/** @type {StreamEvent} */ event) => this.receive(event),
      failed: (/** @type {number} */ status) => this.failed(status),
    };
    const patience = isSuspect ? SUSPECT_TIMEOUT : OPEN_TIMEOUT;
    this.carrier = this.isOverHttp
      ? new StreamCarrier(this.url, listener, this.complaint)
      : new SocketCarrier(this.url, listener, patience);
    this.complaint = "";
  }

  ask() {
    this.heardAt = performance.now();
    this.carrier?.ask({ ...this.request, after: this.cursor });
    if (this.isStopping) this.sendCancel();
  }

  /** Close the connection and leave the state as it is: open() continues from here. */
  disconnect() {
    this.drop();
    this.setLossTimer(undefined);
  }

  /** Close the connection; another try follows. */
  drop() {
    clearTimeout(this.timer);
    this.carrier?.close();
    this.carrier = null;
  }

  /** Close for good. */
  close() {
    this.disconnect();
    this.state = "over";
  }

  /** Stop the run: now, and on every new connection until the server says that it has ended. */
  stop() {
    this.isStopping = true;
    this.sendCancel();
  }

  sendCancel() {
    this.carrier?.cancel();
  }

  retryNow() {
    this.failures = this.fruitless = this.blocked = this.unheard = 0;
    this.isOverHttp = false;
    this.lose("network");
    this.open();
  }

  /** Replace a connection that has gone silent; report a quiet model. To be called every second. */
  check() {
    const now = performance.now();
    const isOnTrial = isSuspect && !this.isOverHttp && !this.hasBrought;
    const silence = isOnTrial ? SUSPECT_SILENCE : this.silence;
    if (this.carrier?.isOpen && now - this.heardAt > silence) {
      // The connection is half open: nothing will say that it has closed.
      if (!this.hasBrought) this.unheard += 1;
      if (!isOnTrial) this.lose(this.unheard >= CERTAIN ? "held" : "network");
      this.missed("unheard");
      this.open();
    } else if (this.carrier && this.quietSince !== null && this.state !== "lost") {
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
    this.hasBrought = true;
    this.fruitless = this.unheard = this.blocked = 0;
    isSuspect = this.isOverHttp;
    this.setLossTimer(undefined);
    // While the database takes nothing, connections bring heartbeats before their refusal.
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

  /** @param {number} status what was answered in place of frames, or 0 */
  failed(status) {
    this.failures += 1;
    if (this.isOverHttp) this.blocked = NO_STREAMS.includes(status) ? this.blocked + 1 : 0;
    if (this.failures > MAX_RETRIES || this.blocked >= CERTAIN) {
      this.disconnect();
      this.lose(this.blocked >= CERTAIN ? "blocked" : "unreachable");
      return;
    }
    if (this.state === "open") this.state = "connecting";
    this.lossTimer ??= setTimeout(() => this.lose("network"), LOSS_DELAY);
    const before = this.isOverHttp;
    this.missed("unopened");
    this.hasBrought = false;
    if (this.isOverHttp !== before) this.openIn(this.complaint ? 0 : delayAfter(this.failures));
    // A socket comes back by itself.
    else if (this.isOverHttp) this.openIn(delayAfter(this.failures));
  }

  /**
   * Use the other way next, if enough tries have brought nothing.
   * @param {"unopened" | "unheard"} why
   */
  missed(why) {
    if (this.hasBrought) return;
    this.fruitless += 1;
    const enough = isSuspect ? 1 : CERTAIN;
    if (this.fruitless < enough) return;
    this.isOverHttp = !this.isOverHttp;
    // Only if the server answers at once, it was there while sockets failed.
    this.complaint = this.isOverHttp && this.fruitless === enough ? why : "";
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
    this.drop();
    this.timer = setTimeout(() => this.open(), ms);
  }

  /** @param {ReturnType<typeof setTimeout> | undefined} timer */
  setLossTimer(timer) {
    clearTimeout(this.lossTimer);
    this.lossTimer = timer;
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
