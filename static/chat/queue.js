// The questions that were sent and have no whole answer yet: the one being asked or answered, and
// those that wait for the answer before them. Each has its message_id from the beginning, so that a
// page that asks it again, after a reload or as a duplicate of this one, joins the same answer.

import { giveBack, input } from "./composer.js";
import { edit } from "./editing.js";
import { keep, recall } from "./kept.js";
import { inBrowser, keyOf } from "./storage.js";
import { byId, part, place, turnAnsweredBy } from "./thread.js";

/** @import { Sent } from "./kept.js" */

/**
 * @typedef {object} Waiting
 * @property {Sent} question
 * @property {HTMLElement | null} turn where it was asked before
 * @property {Element} item its line on the page
 */

/** @type {Waiting[]} */
let waiting = [];
/** @type {Sent | null} */
let asking = null;

// The last question that was taken back: it tells the other tabs of this browser.
const TAKEN_BACK = "taken-back";

function remember() {
  const questions = waiting.map(({ question }) => question);
  keep({ questions: asking ? [asking, ...questions] : questions });
}

/**
 * Have a question wait for the answer before it.
 * @param {Sent} question
 * @param {HTMLElement | null} turn
 */
export function enqueue(question, turn) {
  const item = place("queued-template", byId("queue"));
  part(item, ".queued-text").textContent = question.message;
  waiting.push({ question, turn, item });
  remember();
}

/** Return the next question that waits, which is no longer on the list. */
export function takeNext() {
  const next = waiting.shift();
  next?.item.remove();
  remember();
  return next;
}

/**
 * Keep this question until its answer has ended: a page that is being loaded anew may have been
 * made before the server accepted it. Asked again, it joins the same answer.
 * @param {Sent | null} question
 */
export function setAsking(question) {
  asking = question;
  remember();
}

/** Return the questions that were kept, and wait for none any more. */
export function recallQuestions() {
  const { questions } = recall();
  for (const { item } of waiting) item.remove();
  waiting = [];
  return questions;
}

// --- Taking back

/**
 * Give up the question of this line, in all tabs. Its text returns to the composer of this one.
 * @param {Element} item
 */
export function takeBackWaiting(item) {
  const found = waiting.find((each) => each.item === item);
  if (!found) return;
  const { question, turn } = found;
  dropWaiting(question.message_id);
  tellTakenBack(question.message_id);
  const edited = turnAnsweredBy(question.branch_of);
  if (edited) {
    edit(edited, { text: question.message });
    return;
  }
  input.focus();
  if (!turn && !question.rerun_of) giveBack(question.message);
}

/** @param {string} messageId */
export function dropWaiting(messageId) {
  for (const { item } of waiting.filter(({ question }) => question.message_id === messageId)) {
    item.remove();
  }
  waiting = waiting.filter(({ question }) => question.message_id !== messageId);
  remember();
}

/** @param {string} messageId */
export function tellTakenBack(messageId) {
  // With storage switched off, a duplicate of this tab has no copy of the question.
  inBrowser.set(TAKEN_BACK, messageId);
}

/**
 * Call this when a question is taken back in another tab.
 * @param {(messageId: string) => void} takenBack
 */
export function onTakenBack(takenBack) {
  addEventListener("storage", ({ key, newValue }) => {
    if (key === keyOf(TAKEN_BACK) && newValue) takenBack(newValue);
  });
}
