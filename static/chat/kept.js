// What survives a reload: the text that is being written, and the questions that were sent and that
// the server has not accepted yet. Each tab keeps its own; a browser copies it to a duplicate. What
// a signed-in reader has written is shown to no other reader.

import { conversation } from "./chats.js";
import { inTab } from "./storage.js";
import { account } from "./thread.js";

/** @import { Question } from "./connection.js" */

/**
 * A question that was sent, as the server gets it. It is asked in the conversation of its page.
 * @typedef {Omit<Question, "conversation_id">} Sent
 */
/** @typedef {{ draft: string, questions: Sent[] }} Kept */

/** @type {Kept} */
let kept = { draft: "", questions: [] };

/** @param {string | null} chat null: the one that begins with the next question */
const placeOf = (chat, reader = account) => `draft:${reader}:${chat ?? ""}`;

/** @param {Partial<Kept>} change */
export function keep(change) {
  kept = { ...kept, ...change };
  const isEmpty = !kept.draft && !kept.questions.length;
  inTab.set(placeOf(conversation), isEmpty ? null : JSON.stringify(kept));
}

/** Return what was kept of this conversation. Signing in takes over what was written before. */
export function recall() {
  let found = inTab.get(placeOf(conversation));
  if (!found && account) {
    found = inTab.get(placeOf(conversation, ""));
    inTab.set(placeOf(conversation, ""), null);
  }
  const { draft = "", questions = [] } = JSON.parse(found ?? "{}");
  keep({ draft, questions });
  return kept;
}

/** Keep it for the conversation that has just begun, and no longer for the next new one. */
export function moveFromNewChat() {
  inTab.set(placeOf(null), null);
  keep({});
}
