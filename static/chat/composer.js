// Asking: the text that is being written, the answer that is being followed, and the questions that
// wait behind it.

import { chosenMode, chosenModel } from "./choices.js";
import { Connection, uuid } from "./connection.js";
import {
  announce, byId, conversation, enter, followEnd, linkState, newAnswer, newTurn, part, place,
  refreshList, retitle, room, show, showRefusal, textOf, thread, turnOf,
} from "./thread.js";

/** @import { Connected, Done, Failure, Loss, Observer, Request, Shown } from "./connection.js" */

/**
 * @typedef {object} Question
 * @property {string} text
 * @property {string} [mode] the path; without it, the one chosen when the question is asked
 * @property {string | null} [model] null: the path's; without it, the one chosen when it is asked
 * @property {boolean} fresh look again instead of using stored results of tools
 * @property {HTMLElement} [replaces] the answer that is not enough
 */

export const input = /** @type {HTMLTextAreaElement} */ (byId("composer-text"));
const composer = byId("composer");

/** @type {Answer | null} The answer that is being followed; at most one. */
export let live = null;
/** @type {(Question & { item: Element })[]} Questions to be asked next. `item`: the line on the page. */
const waiting = [];

// --- One answer

/** @type {Record<Loss, string>} */
const LOST = {
  network: "Connection lost. Reconnecting…",
  restarting: "The server is restarting. Trying again…",
  storage: "", // the server sends a message
  unreachable: "The server cannot be reached. Your question and what came so far are kept.",
};
const ENDED = {
  completed: "Answer complete",
  cancelled: "Stopped",
  paused: "The answer waits for you",
};
const WAITS_FOR_OTHERS = "The answer waits for somebody else";
const RECONNECTED = "Reconnected";
const RECONNECTED_TIME = 2_500; // ms

/**
 * An answer that is being followed: shows what its connection reports.
 * @implements {Observer}
 */
export class Answer {
  askAgainAfterwards = false;

  /**
   * @param {Question} question
   * @param {object} where
   * @param {HTMLElement} where.turn
   * @param {HTMLElement} where.article
   * @param {Request} where.request
   * @param {boolean} [where.isBegun]
   */
  constructor(question, { turn, article, request, isBegun = false }) {
    this.question = question;
    this.turn = turn;
    this.article = article;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.connection = new Connection({
      url: `${scheme}//${location.host}/ws/chat/`,
      request,
      observer: this,
      heartbeat: Number(room.dataset.heartbeatMs),
      isBegun,
    });
  }

  // --- What the connection reports

  /** @param {Connected | Done | Failure | Shown} event */
  received(event) {
    if (event.type === "connected") this.connected(event);
    else show(event, this.article);
    // Events bring the server's own status line, until the last one brings the summary.
    const isTerminal = event.type === "done" || event.type === "error";
    if (this.connection.isStopping && !isTerminal) this.say("Stopping…");
  }

  /** @param {Connected} event */
  connected(event) {
    if (event.data.continues) {
      this.goOn(event);
      return;
    }
    const id = `run-${event.workflow_id}`;
    if (!document.getElementById(id)) {
      show(event, this.article);
      const label = document.getElementById(id)?.querySelector("[data-number]");
      const number = this.turn.dataset.turn;
      if (label && number) label.textContent = `Answer ${number}`;
    }
    this.article = byId(id);
    if (conversation === event.data.conversation_id) return;
    enter(event.data.conversation_id);
    remember();
  }

  /**
   * A run that goes on with a paused one is shown in its article.
   * @param {Connected} event
   */
  goOn(event) {
    const { dataset } = this.article;
    dataset.workflowId = event.workflow_id;
    dataset.messageId = this.connection.request.message_id;
    dataset.live = "";
    this.article.setAttribute("aria-busy", "true");
    show(event, this.article);
    retitle();
    refreshList();
  }

  /** @param {Done | Failure} event */
  ended(event) {
    this.leave();
    const alert = this.article.querySelector(".end [role=alert]");
    if (event.type === "error") announce(alert ? "" : event.error.message);
    else if (this.article.querySelector("[data-ask=look]")) announce(WAITS_FOR_OTHERS);
    else announce(ENDED[event.data.status]);
    retitle();
    refreshList();
    if (this.askAgainAfterwards) askAgain(this.article);
    else askNext();
  }

  /** @param {Failure} event */
  refused(event) {
    this.leave();
    showRefusal(this.article, event.html);
    announce("");
    askNext();
  }

  waiting() {
    this.say("Waiting");
    linkState("Another answer is being written in this chat. This question is asked next.", [
      "give-up",
    ]);
    updateComposer();
  }

  accepted() {
    linkState(null);
  }

  /**
   * @param {Loss} why
   * @param {string} message
   */
  lost(why, message) {
    linkState(LOST[why] || message, ["retry"], { urgent: why === "unreachable" });
  }

  reconnected() {
    linkState(RECONNECTED);
    setTimeout(() => linkState(null, [], { onlyIf: RECONNECTED }), RECONNECTED_TIME);
  }

  /** @param {number | null} ms */
  quiet(ms) {
    if (ms === null) linkState(null);
    else if (!this.connection.isStopping) {
      const seconds = Math.floor(ms / 1000);
      linkState(`The model has been quiet for ${seconds} s.`, ["stop", "stop-and-ask"]);
    }
  }

  // --- What the reader does

  stop() {
    if (this.connection.state === "waiting") {
      this.takeBack();
      return;
    }
    this.say("Stopping…");
    if (this.connection.state !== "lost") linkState(null);
    this.connection.stop();
    updateComposer();
  }

  stopAndAskAgain() {
    this.askAgainAfterwards = true;
    this.stop();
  }

  /** Give up a question that the server has not accepted. */
  takeBack() {
    this.leave();
    const isOnly = this.turn.querySelectorAll("[data-answer]").length === 1;
    (isOnly ? this.turn : this.article).remove();
    if (!this.question.replaces) returnToComposer(this.question.text);
    askNext();
  }

  /** Follow it no longer. */
  leave() {
    this.connection.close();
    this.article.setAttribute("aria-busy", "false");
    this.article.removeAttribute("data-live");
    linkState(null);
    live = null;
    updateComposer();
  }

  /** @param {string} words */
  say(words) {
    const place = this.article.querySelector("[data-words]");
    if (place) place.textContent = words;
  }
}

// --- Asking

/**
 * Ask a question in a new turn; behind the answer that is being followed, if there is one.
 * @param {string} text
 */
export function ask(text) {
  askInTurn({ text, mode: chosenMode(), model: chosenModel(), fresh: false });
}

/**
 * Ask the question of this answer again. The old answer is kept.
 * @param {Element} article
 * @param {{ mode?: string, fresh?: boolean }} how
 */
export function askAgain(article, { mode = chosenMode(), fresh = false } = {}) {
  const replaces = /** @type {HTMLElement} */ (article);
  askInTurn({ text: textOf(turnOf(article)), mode, model: chosenModel(), fresh, replaces });
}

/** @param {Question} question */
function askInTurn(question) {
  if (live) {
    enqueue(question);
    return;
  }
  const { replaces } = question;
  const turn = replaces ? turnOf(replaces) : newTurn(question.text);
  const rerunOf = replaces?.dataset.workflowId || replaces?.dataset.rerunOf || null;
  const messageId = uuid();
  const article = newAnswer(turn, { messageId, rerunOf });
  // The button that was pressed is folded away with the old answer.
  if (replaces) input.focus({ preventScroll: true });
  const request = requestOf(question, { messageId, rerunOf });
  follow(new Answer(question, { turn, article, request }));
  followEnd(true);
}

/**
 * @param {Question} question
 * @param {{ messageId: string, rerunOf?: string | null }} of
 * @returns {Request}
 */
function requestOf(question, { messageId, rerunOf = null }) {
  return {
    message: question.text,
    message_id: messageId,
    conversation_id: conversation,
    mode: question.mode ?? chosenMode(),
    model: question.model === undefined ? chosenModel() : question.model,
    fresh: question.fresh,
    rerun_of: rerunOf,
  };
}

/** @param {Answer} answer */
export function follow(answer) {
  live = answer;
  live.connection.open();
  announce("Answering");
  updateComposer();
}

/**
 * Join an answer that is still being written.
 * @param {HTMLElement} article
 */
function join(article) {
  const turn = turnOf(article);
  // The server finds the run by its message_id. A run that exists keeps its mode and its model.
  const question = { text: textOf(turn), mode: "auto", model: null, fresh: false };
  const request = requestOf(question, { messageId: article.dataset.messageId ?? "" });
  live = new Answer(question, { turn, article, request, isBegun: true });
  live.connection.open();
  updateComposer();
}

export function joinUnfinished() {
  const unfinished = thread.querySelectorAll("[data-answer][data-live]");
  for (const article of unfinished) join(/** @type {HTMLElement} */ (article));
}

// --- Questions that wait for the answer before them

/** @param {Question} question */
function enqueue(question) {
  const item = place("queued-template", byId("queue"));
  part(item, ".queued-text").textContent = question.text;
  waiting.push({ ...question, item });
  remember();
}

export function askNext() {
  const next = waiting.shift();
  if (!next) return;
  const { item, ...question } = next;
  item.remove();
  remember();
  askInTurn(question);
}

/**
 * Give up a waiting question.
 * @param {Element} item its line on the page
 */
export function takeBackWaiting(item) {
  const index = waiting.findIndex((question) => question.item === item);
  const [question] = waiting.splice(index, 1);
  item.remove();
  if (!question.replaces) returnToComposer(question.text);
  remember();
  input.focus();
}

/** @param {string} text */
function returnToComposer(text) {
  write(input.value.trim() ? `${text}\n\n${input.value}` : text);
}

/** Keep what was typed and not asked: it survives a reload. */
function remember() {
  try {
    const texts = waiting.filter(({ replaces }) => !replaces).map(({ text }) => text);
    const kept = JSON.stringify({ draft: input.value, waiting: texts });
    sessionStorage.setItem(`fleet:${conversation ?? ""}`, kept);
    if (conversation) sessionStorage.removeItem("fleet:");
  } catch {
    // Storage is switched off or full.
  }
}

function recall() {
  /** @type {{ draft?: string, waiting?: string[] } | null} */
  let kept = null;
  try {
    kept = JSON.parse(sessionStorage.getItem(`fleet:${conversation ?? ""}`) ?? "null");
  } catch {
    // Storage is switched off: there is nothing to recall.
  }
  if (kept?.draft && !input.value) input.value = kept.draft;
  for (const text of kept?.waiting ?? []) {
    if (live) enqueue({ text, fresh: false });
    else returnToComposer(text);
  }
}

// --- The composer

/**
 * Put this text into the composer.
 * @param {string} text
 */
export function write(text) {
  input.value = text;
  fit();
}

function fit() {
  // Where the style sheet cannot do it (field-sizing), rows grow with the lines.
  if (!CSS.supports("field-sizing", "content")) {
    input.rows = Math.min(8, input.value.split("\n").length);
  }
  updateComposer();
}

function updateComposer() {
  const hasText = input.value.trim() !== "";
  const stop = /** @type {HTMLButtonElement} */ (byId("stop"));
  stop.hidden = !live;
  stop.disabled = Boolean(live?.connection.isStopping);
  byId("send").hidden = Boolean(live) && !hasText;
  byId("send").setAttribute("aria-label", live ? "Ask next" : "Send");
}

function submit() {
  const text = input.value.trim();
  if (!text) return;
  write("");
  remember();
  ask(text);
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});

input.addEventListener("input", () => {
  fit();
  remember();
});

input.addEventListener("keydown", (event) => {
  if (isComposing(event)) return;
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    submit();
  } else if (event.key === "ArrowUp" && !input.value) {
    const last = [...thread.querySelectorAll(".turn")].at(-1);
    if (!last) return;
    event.preventDefault();
    write(textOf(last));
  }
});

/**
 * Return true if this key belongs to the composition of a character, which Enter only ends. Safari
 * sends that Enter after the composition: only the key code tells.
 * @param {KeyboardEvent} event
 */
export function isComposing(event) {
  return event.isComposing || event.keyCode === 229;
}

// --- The beginning

/** Join the answer that is still being written, and take up what was typed before a reload. */
export function begin() {
  joinUnfinished();
  retitle();
  recall();
  fit();
  if (conversation) followEnd(true);
}
