// What survives a reload: the text that is being written, and the questions that were sent and that
// the server has not accepted yet. Each tab keeps its own; a browser copies it to a duplicate.

import { conversation } from "./thread.js";

/** @import { Question } from "./connection.js" */

/**
 * A question that was sent, as the server gets it. It is asked in the conversation of its page.
 * @typedef {Omit<Question, "conversation_id">} Sent
 */
/** @typedef {{ draft: string, questions: Sent[] }} Kept */

/** @type {Kept} */
let kept = { draft: "", questions: [] };

const NEW_CHAT = "fleet:";
const place = () => `${NEW_CHAT}${conversation ?? ""}`;

/** @param {Partial<Kept>} change */
export function keep(change) {
  kept = { ...kept, ...change };
  try {
    if (kept.draft || kept.questions.length) sessionStorage.setItem(place(), JSON.stringify(kept));
    else sessionStorage.removeItem(place());
  } catch {
    // Storage is switched off or full.
  }
}

/** Return what was kept of this conversation. */
export function recall() {
  try {
    const { draft = "", questions = [] } = JSON.parse(sessionStorage.getItem(place()) ?? "{}");
    kept = { draft, questions };
  } catch {
    // Storage is switched off: this page alone knows.
  }
  return kept;
}

/** Keep it for the conversation that has just begun, and no longer for the next new one. */
export function moveFromNewChat() {
  try {
    sessionStorage.removeItem(NEW_CHAT);
  } catch {
    // Storage is switched off.
  }
  keep({});
}
