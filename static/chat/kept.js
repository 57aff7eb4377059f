// What survives a reload: the texts that are being written, and the questions that were sent and that
// have no whole answer yet. Each tab keeps its own; a browser copies it to a duplicate. What
// a signed-in reader has written is shown to no other reader.

import { conversation } from "./chats.js";
import { inTab } from "./storage.js";
import { account } from "./thread.js";

/** @import { Question } from "./connection.js" */

/**
 * A question that was sent, as the server gets it. It is asked in the conversation of its page.
 * @typedef {Omit<Question, "conversation_id">} Sent
 */
/**
 * `edits`: the new texts of questions, each by the id of the first answer to its question.
 * @typedef {{ draft: string, questions: Sent[], edits: Record<string, string> }} Kept
 */

/** @type {Kept} */
let kept = { draft: "", questions: [], edits: {} };

/** @param {string | null} chat null: the one that begins with the next question */
const placeOf = (chat, reader = account) => `draft:${reader}:${chat ?? ""}`;

/** @param {Partial<Kept>} change */
export function keep(change) {
  kept = { ...kept, ...change };
  const isEmpty = !kept.draft && !kept.questions.length && !Object.keys(kept.edits).length;
  inTab.set(placeOf(conversation), isEmpty ? null : JSON.stringify(kept));
}

/** Return what was kept of this conversation. Signing in takes over what was written before. */
export function recall() {
  let found = inTab.get(placeOf(conversation));
  if (!found && account) {
    found = inTab.get(placeOf(conversation, ""));
    inTab.set(placeOf(conversation, ""), null);
  }
  const { draft = "", questions = [], edits = {} } = JSON.parse(found ?? "{}");
  keep({ draft, questions, edits });
  return kept;
}

/**
 * Keep the new text of a question; null: no longer.
 * @param {string} question
 * @param {string | null} text
 */
export function keepEdit(question, text) {
  const { [question]: _, ...others } = kept.edits;
  keep({ edits: text === null ? others : { ...others, [question]: text } });
}

/** @param {string} question */
export function keptEdit(question) {
  return kept.edits[question];
}

/** Keep it for the conversation that has just begun, and no longer for the next new one. */
export function moveFromNewChat() {
  inTab.set(placeOf(null), null);
  keep({});
}
