// The box in which a question is edited, in the place of its bubble. What is written there is kept
// until it is asked or given up.

import {
  giveBack, grow, input, sendWithEnter, takeFocus, textToSend, updateCount, write,
} from "./composer.js";
import { gettext } from "./i18n.js";
import { isComposing } from "./keys.js";
import { keepEdit, keptEdit } from "./kept.js";
import { announce, part, place, runOf, textOf, thread, turnOf } from "./thread.js";

/** @typedef {{ turn: HTMLElement, text: string }} Edited */

/** What had the focus before each box was opened, which gets it back. */
const openers = new WeakMap();

/** @param {Element} turn */
const formOf = (turn) => /** @type {HTMLFormElement | null} */ (turn.querySelector("[data-edit]"));

/** @param {Element} form */
const boxOf = (form) => /** @type {HTMLTextAreaElement} */ (part(form, "textarea"));

/**
 * Return the name by which the new text of a question is kept: its first answer has the same id on
 * every page.
 * @param {Element} turn
 */
const nameOf = (turn) => part(turn, "[data-answer]").id;

/**
 * Edit the question of a turn. By default go on with the text that is kept.
 * @param {HTMLElement} turn
 * @param {object} how
 * @param {string} [how.text]
 * @param {string} [how.fault] markup that says why this text was not asked
 * @param {boolean} [how.isAskedFor] the reader wants to write now
 */
export function edit(turn, { text, fault = "", isAskedFor = true } = {}) {
  const form = formOf(turn) ?? open(turn);
  const box = boxOf(form);
  box.value = text ?? keptEdit(nameOf(turn)) ?? textOf(turn);
  const markup = document.createElement("template");
  markup.innerHTML = fault;
  const words = markup.content.querySelector("[data-trouble-words]");
  const place = part(form, "[data-edit-fault]");
  place.hidden = !words;
  place.replaceChildren(...(words?.childNodes ?? []));
  changed(form);
  if (!isAskedFor) return;
  box.focus();
  box.setSelectionRange(box.value.length, box.value.length);
  form.scrollIntoView({ block: "nearest" });
}

/** @param {HTMLElement} turn */
function open(turn) {
  const question = part(turn, ".question");
  const form = /** @type {HTMLFormElement} */ (place("edit-template", question));
  openers.set(form, document.activeElement);
  question.classList.add("editing");
  const box = boxOf(form);
  box.enterKeyHint = input.enterKeyHint;
  const count = part(form, ".count");
  count.id = `${nameOf(turn)}-count`;
  for (const each of [box, part(form, ".primary")]) each.setAttribute("aria-describedby", count.id);
  box.addEventListener("input", () => changed(form));
  sendWithEnter(box);
  return form;
}

/** @param {HTMLFormElement} form */
function changed(form) {
  const box = boxOf(form);
  const turn = turnOf(form);
  grow(box);
  keepEdit(nameOf(turn), box.value === textOf(turn) ? null : box.value);
  const count = part(form, ".count");
  const isShort = updateCount(box, count);
  const isEmpty = !box.value.trim();
  if (isEmpty) {
    count.textContent = gettext("Write a question to ask.");
    count.hidden = false;
  }
  /** @type {HTMLButtonElement} */ (part(form, ".primary")).disabled = isEmpty || !isShort;
}

/**
 * Close the box of an edited question, and return what is to be asked; null if it cannot be sent.
 * @param {HTMLFormElement} form
 * @returns {Edited | null}
 */
export function takeEdit(form) {
  const box = boxOf(form);
  const turn = turnOf(form);
  const text = textToSend(box);
  if (/** @type {HTMLButtonElement} */ (part(form, ".primary")).disabled) {
    announce(part(form, ".count").textContent ?? "");
    return null;
  }
  keepEdit(nameOf(turn), null);
  close(form);
  takeFocus();
  return { turn, text };
}

/**
 * Close the box in which this element is, and keep its text. Return false if it is in none.
 * @param {Element} element
 */
export function leaveEdit(element) {
  const form = /** @type {HTMLFormElement | null} */ (element.closest("[data-edit]"));
  if (!form) return false;
  const opener = openers.get(form);
  const button = part(turnOf(form), "[data-action=edit]");
  close(form);
  (opener === input ? input : button).focus({ preventScroll: true });
  return true;
}

/**
 * Close the box in which this button is, and forget its text.
 * @param {Element} button
 */
export function cancelEdit(button) {
  keepEdit(nameOf(turnOf(button)), null);
  leaveEdit(button);
}

/** Put what is written in open boxes into the composer: their questions are about to be gone. */
export function giveBackEdits() {
  for (const form of thread.querySelectorAll("[data-edit]")) giveBack(boxOf(form).value);
}

/** @param {HTMLFormElement} form */
function close(form) {
  part(turnOf(form), ".question").classList.remove("editing");
  form.remove();
}

// ↑ in an empty composer edits the last question. One that the server doesn't have is written there.
input.addEventListener("keydown", (event) => {
  const { key, shiftKey, ctrlKey, metaKey, altKey } = event;
  if (key !== "ArrowUp" || input.value || shiftKey || ctrlKey || metaKey || altKey) return;
  const last = /** @type {HTMLElement | undefined} */ ([...thread.querySelectorAll(".turn")].at(-1));
  if (!last || isComposing(event)) return;
  event.preventDefault();
  if (runOf(last)) edit(last);
  else write(textOf(last));
});
