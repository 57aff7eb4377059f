// Asking questions, and following their answers.

import { chatChanged, chatTitle, conversation, enter, refreshList, retitle } from "./chats.js";
import {
  chosenEffort, chosenMode, chosenModel, chosenPreference, takeFresh,
} from "./choices.js";
import { giveBack, input, recallDraft, setAnswering, showDraft, write } from "./composer.js";
import { Connection, uuid } from "./connection.js";
import { noteEnding } from "./done.js";
import { edit } from "./editing.js";
import { followEnd } from "./following.js";
import { gettext, interpolate } from "./i18n.js";
import { moveFromNewChat } from "./kept.js";
import { LOST, URGENT } from "./losses.js";
import {
  dropWaiting, enqueue, onTakenBack, recallQuestions, setAsking, takeNext, tellTakenBack,
} from "./queue.js";
import { root } from "./site.js";
import {
  account, announce, byId, linkState, nameQuestion, newAnswer, newTurn, newVersion, room, runOf,
  secondsWords, setNumber, show, showRefusal, textOf, thread, turnAnsweredBy, turnOf, wordsOf,
} from "./thread.js";
import { showWork } from "./work.js";

/** @import { Connected, Done, Failure, Loss, Observer, Request, Shown } from "./connection.js" */
/** @import { Edited } from "./editing.js" */
/** @import { Sent } from "./kept.js" */

/** @type {Answer | null} The answer that is being followed; at most one. */
export let live = null;

// --- One answer

const ENDED = {
  completed: gettext("Answer complete"),
  cancelled: gettext("Stopped"),
  paused: gettext("The answer waits for you"),
};
const WAITS_FOR_OTHERS = gettext("The answer waits for somebody else");
const RECONNECTED = gettext("Reconnected");
const RECONNECTED_TIME = 2_500; // ms

/**
 * An answer that is being followed: shows what its connection reports.
 * @implements {Observer}
 */
export class Answer {
  askAgainAfterwards = false;

  /**
   * @param {Request} request
   * @param {object} where
   * @param {HTMLElement} where.turn
   * @param {HTMLElement} where.article
   * @param {HTMLElement[]} [where.replaced] the turns that stood there, until the server accepts it
   * @param {boolean} [where.isBegun]
   */
  constructor(request, { turn, article, replaced = [], isBegun = false }) {
    this.turn = turn;
    this.article = article;
    this.replaced = replaced;
    this.isJoined = isBegun;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const query = new URLSearchParams({ language: document.documentElement.lang });
    if (account) query.set("account", account);
    this.connection = new Connection({
      url: `${scheme}//${location.host}${root}ws/chat/?${query}`,
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
    else {
      show(event, this.article);
      showWork(event, this.article);
    }
    // Events bring the server's own status line, until the last one brings the summary.
    const isTerminal = event.type === "done" || event.type === "error";
    if (this.connection.isStopping && !isTerminal) this.say(gettext("Stopping…"));
  }

  /** @param {Connected} event */
  connected(event) {
    if (event.data.continues) {
      this.goOn(event);
      return;
    }
    const id = `run-${event.workflow_id}`;
    const shown = document.getElementById(id);
    if (!shown) {
      show(event, this.article);
      setNumber(this.turn, Number(this.turn.dataset.turn));
    } else if (shown !== this.article) {
      this.removePlace();
      this.turn = turnOf(shown);
    }
    this.article = byId(id);
    this.replaced = [];
    nameQuestion(this.turn, event.workflow_id);
    if (conversation !== event.data.conversation_id) {
      enter(event.data.conversation_id);
      moveFromNewChat();
    }
    this.changed();
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
    this.changed();
  }

  /** @param {Done | Failure} event */
  ended(event) {
    this.leave();
    const alert = this.article.querySelector(".end [role=alert]");
    if (event.type === "error") announce(alert ? "" : wordsOf(event));
    else if (this.article.querySelector("[data-ask=look]")) announce(WAITS_FOR_OTHERS);
    else announce(ENDED[event.data.status]);
    const ending = event.type === "error" ? "failed" : event.data.status;
    const run = this.article.dataset.workflowId ?? "";
    if (ending !== "cancelled") noteEnding({ run, ending, title: chatTitle() });
    retitle();
    this.changed();
    if (this.askAgainAfterwards) askAgain(this.article);
    else askNext();
  }

  /** @param {Failure} event */
  refused(event) {
    this.leave();
    announce("");
    // The server has not stored it.
    if (!this.replaced.length) showRefusal(this.article, event.html);
    this.giveBackText(event.html);
    askNext();
  }

  waiting() {
    this.say(gettext("Waiting"));
    const why = gettext("Another answer is being written in this chat. This question is asked next.");
    linkState(why, ["give-up"]);
    updateComposer();
  }

  accepted() {
    linkState(null);
  }

  /**
   * @param {Loss} why
   * @param {Failure} [event]
   */
  lost(why, event) {
    const actions = this.connection.isWaiting ? ["retry", "give-up"] : ["retry"];
    linkState(event ? wordsOf(event) : LOST[why], actions, { urgent: URGENT.has(why) });
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
      const quiet = gettext("The model has been quiet for %(period)s.");
      linkState(interpolate(quiet, { period: secondsWords(seconds) }), ["stop", "stop-and-ask"]);
    }
  }

  // --- What the reader does

  stop() {
    if (this.connection.isWaiting) {
      this.takeBack();
      return;
    }
    this.say(gettext("Stopping…"));
    setAsking(null); // a reload must not ask it again
    if (this.connection.state !== "lost") linkState(null);
    this.connection.stop();
    updateComposer();
  }

  stopAndAskAgain() {
    this.askAgainAfterwards = true;
    this.stop();
  }

  /** Give up a question that the server has not accepted, in all tabs. */
  takeBack() {
    tellTakenBack(this.connection.request.message_id);
    this.giveBackText();
    this.withdraw();
  }

  /**
   * Put the text back where it was written: for a new version, with the turns that it replaced.
   * @param {string} html why it was not asked
   */
  giveBackText(html = "") {
    const text = textOf(this.turn);
    const [edited] = this.replaced;
    if (edited) {
      this.removePlace();
      // What is being written elsewhere keeps the focus.
      edit(edited, { text, fault: html, isAskedFor: !input.value });
    } else if (this.isOnly) giveBack(text);
  }

  /** Remove the question, and ask the next one. */
  withdraw() {
    this.leave();
    this.removePlace();
    askNext();
  }

  removePlace() {
    if (this.replaced.length) this.turn.replaceWith(...this.replaced);
    else (this.isOnly ? this.turn : this.article).remove();
  }

  /** True if the question has no other answer. */
  get isOnly() {
    return this.turn.querySelectorAll("[data-answer]").length === 1;
  }

  /** The run has begun or ended. Of an answer that it joined the page tells no other tab. */
  changed() {
    if (this.isJoined) refreshList();
    else chatChanged();
  }

  /** Follow it no longer. */
  leave() {
    this.connection.close();
    this.article.setAttribute("aria-busy", "false");
    this.article.removeAttribute("data-live");
    linkState(null);
    live = null;
    setAsking(null);
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
  send({ ...asChosen(text), fresh: takeFresh(), rerun_of: null }, null);
}

/**
 * Ask an edited question in place of the one of its turn; again, if its text is the same.
 * @param {Edited} edited
 */
export function askEdited({ turn, text }) {
  if (text === textOf(turn)) {
    askAgain(/** @type {Element} */ ([...turn.querySelectorAll("[data-answer]")].at(-1)));
    return;
  }
  send({ ...asChosen(text), fresh: takeFresh(), rerun_of: null, branch_of: runOf(turn) }, null);
}

/**
 * Ask the question of this answer again. The old answer is kept.
 * @param {Element} article
 * @param {{ mode?: string, fresh?: boolean }} how
 */
export function askAgain(article, { mode = chosenMode(), fresh = false } = {}) {
  const { workflowId, rerunOf } = /** @type {HTMLElement} */ (article).dataset;
  const turn = turnOf(article);
  const message = textOf(turn);
  // A question that was refused is in the composer, too.
  if (!workflowId && input.value === message) write("");
  send({ ...asChosen(message), mode, fresh, rerun_of: workflowId || rerunOf || null }, turn);
}

/**
 * Return a new question, to be answered as the reader has chosen.
 * @param {string} message
 */
function asChosen(message) {
  return {
    message,
    message_id: uuid(),
    mode: chosenMode(),
    preference: chosenPreference(),
    model: chosenModel(),
    reasoning_effort: chosenEffort(),
  };
}

/**
 * @param {Sent} question
 * @param {HTMLElement | null} turn where it was asked before
 */
function send(question, turn) {
  if (live) {
    enqueue(question, turn);
    return;
  }
  start(question, turn);
  followEnd(true);
}

/**
 * @param {Sent} question
 * @param {HTMLElement | null} repeated where it was asked before
 */
function start(question, repeated) {
  setAsking(question);
  const focused = document.activeElement;
  const edited = turnAnsweredBy(question.branch_of);
  const { turn, replaced } = edited
    ? newVersion(edited, question.message)
    : { turn: repeated ?? turnAnsweredBy(question.rerun_of) ?? newTurn(question.message) };
  const hadFocus = turn.contains(focused) || !focused?.isConnected;
  const article = newAnswer(turn, {
    messageId: question.message_id,
    rerunOf: question.rerun_of,
  });
  // The button that was pressed is folded away with the old answer.
  if (hadFocus) input.focus({ preventScroll: true });
  const request = { ...question, conversation_id: conversation };
  follow(new Answer(request, { turn, article, replaced }));
}

export function askNext() {
  const next = takeNext();
  if (!next) return;
  if (isShown(next.question)) askNext();
  // Don't scroll: the reader may be reading something else now.
  else start(next.question, next.turn);
}

/**
 * Return true if the page shows that the server has accepted this question.
 * @param {Sent} question
 */
function isShown({ message_id: id }) {
  return thread.querySelector(`[data-message-id="${CSS.escape(id)}"]`) !== null;
}

onTakenBack((messageId) => {
  const { request, isBegun } = live?.connection ?? {};
  if (!isBegun && request?.message_id === messageId) live?.withdraw();
  else dropWaiting(messageId);
});

// --- Following

/** @param {Answer} answer */
export function follow(answer) {
  live = answer;
  live.connection.open();
  announce(gettext("Answering"));
  updateComposer();
}

/**
 * Join an answer that is still being written.
 * @param {HTMLElement} article
 */
function join(article) {
  const turn = turnOf(article);
  // The server finds the run by its message_id. A run that exists keeps its mode and its model.
  const request = {
    message: textOf(turn),
    message_id: article.dataset.messageId ?? "",
    conversation_id: conversation,
    mode: "auto",
    preference: null,
    model: null,
    reasoning_effort: null,
    fresh: false,
    rerun_of: null,
  };
  live = new Answer(request, { turn, article, isBegun: true });
  live.connection.open();
  updateComposer();
}

/** Follow no longer an answer whose version the page doesn't show any more: it goes on. */
export function leaveHidden() {
  if (live && !live.turn.isConnected) live.leave();
}

export function joinUnfinished() {
  const unfinished = thread.querySelectorAll("[data-answer][data-live]");
  for (const article of unfinished) join(/** @type {HTMLElement} */ (article));
}

function updateComposer() {
  setAnswering(live && { isStopping: live.connection.isStopping });
}

// --- The beginning

/** Ask what was sent before a reload, and not accepted: it waits no longer than it did. */
function askKept() {
  const asked = live?.connection.request.message_id;
  const questions = recallQuestions().filter(
    (question) => question.message_id !== asked && !isShown(question),
  );
  for (const question of questions) enqueue(question, null);
  if (!live) askNext();
}

/** Join the answer that is still being written, and take up what was typed before a reload. */
export function begin() {
  joinUnfinished();
  retitle();
  recallDraft();
  askKept();
  if (conversation) followEnd(true);
}

/** Take up what was typed while the browser kept this page: the tab may have shown the chat anew. */
export function comeBack() {
  showDraft();
  askKept();
}
