// The box in which a question is written: its text, how long it may be, its keys and its buttons.

import { gettext, interpolate, number } from "./i18n.js";
import { isComposing } from "./keys.js";
import { keep, recall } from "./kept.js";
import { announce, byId } from "./thread.js";

export const input = /** @type {HTMLTextAreaElement} */ (byId("composer-text"));
const send = /** @type {HTMLButtonElement} */ (byId("send"));
const stop = /** @type {HTMLButtonElement} */ (byId("stop"));
const count = byId("count");

const MAX_CHARACTERS = Number(input.dataset.maxCharacters);
const NEAR = 0.9; // of the most characters, from which on they are counted on the page

// A phone, or a tablet without a mouse or a trackpad. Its keyboard is on the screen and has no
// Shift+Enter.
const touch = matchMedia("(pointer: coarse) and (not (any-hover: hover))");

// --- The text

/**
 * Put this text into the composer. If the composer has the focus, the reader can undo it.
 * @param {string} text
 */
export function write(text) {
  if (document.activeElement === input && input.value !== text) {
    input.select();
    // The only way that browsers can undo.
    if (text) document.execCommand("insertText", false, text);
    else document.execCommand("delete");
  }
  if (input.value !== text) input.value = text;
  changed();
}

/**
 * Put back a text that was not asked, before what has been written since.
 * @param {string} text
 */
export function giveBack(text) {
  write(input.value.trim() ? `${text}\n\n${input.value}` : text);
}

/** Put back what was written before a reload, before what was written while the page loaded. */
export function recallDraft() {
  const { draft } = recall();
  if (draft && draft !== input.value) giveBack(draft);
  else changed();
}

/** Show what this tab keeps: a page that Back shows again may be behind it. */
export function showDraft() {
  write(recall().draft);
}

/** Empty the composer, and return what is to be sent; null if it cannot be sent. */
export function take() {
  const text = textToSend(input);
  if (!text.trim()) return null;
  if (isTooLong(text)) {
    announce(count.textContent);
    return null;
  }
  write("");
  if (!touch.matches) input.focus({ preventScroll: true }); // the button that was pressed may be gone
  return text;
}

/** @type {() => void} */
let tellChanged = () => {};

/**
 * Call this when the text changes.
 * @param {() => void} told
 */
export function onChanged(told) {
  tellChanged = told;
}

function changed() {
  grow(input);
  keep({ draft: input.value });
  update();
  tellChanged();
}

/**
 * Where the style sheet cannot do it (field-sizing), have rows grow with the lines.
 * @param {HTMLTextAreaElement} box
 */
export function grow(box) {
  if (CSS.supports("field-sizing", "content")) return;
  box.rows = Math.min(8, box.value.split("\n").length);
}

/**
 * What is written in a box as it is, apart from line ends behind it.
 * @param {HTMLTextAreaElement} box
 */
export function textToSend(box) {
  // The look-behind keeps the search from beginning anew at each of many line ends.
  return box.value.replace(/(?<!\n)\n+$/, "");
}

/** Give the focus to the composer, or to the thread if it would bring up a keyboard. */
export function takeFocus() {
  (touch.matches ? byId("scroll") : input).focus({ preventScroll: true });
}

// --- Its length

/**
 * Return how many characters the server counts: an emoji is one, and a string has two units for it.
 * @param {string} text
 */
function charactersOf(text) {
  return text.length - (text.match(/[\ud800-\udbff][\udc00-\udfff]/g) ?? []).length;
}

/** @param {string} text */
function isTooLong(text) {
  return text.length > MAX_CHARACTERS && charactersOf(text) > MAX_CHARACTERS;
}

/**
 * Show how long the text of a box is once that matters. Return false if it is too long to be sent.
 * @param {HTMLTextAreaElement} box
 * @param {HTMLElement} count
 */
export function updateCount(box, count) {
  const text = textToSend(box);
  const isNear = text.length > NEAR * MAX_CHARACTERS;
  const characters = isNear ? charactersOf(text) : 0;
  const tooLong = characters > MAX_CHARACTERS;
  count.hidden = characters <= NEAR * MAX_CHARACTERS;
  const figures = { count: number(characters), most: number(MAX_CHARACTERS) };
  const words = interpolate(gettext("%(count)s of %(most)s characters"), figures);
  count.textContent = count.hidden ? "" : words;
  count.classList.toggle("bad", tooLong);
  box.setAttribute("aria-invalid", String(tooLong));
  return !tooLong;
}

// --- The buttons

/** @type {{ isStopping: boolean } | null} */
let answering = null;

/**
 * Offer what can be done while an answer is being written, or while none is.
 * @param {{ isStopping: boolean } | null} answer
 */
export function setAnswering(answer) {
  answering = answer;
  update();
}

function update() {
  const hasText = input.value.trim() !== "";
  stop.hidden = !answering;
  stop.disabled = Boolean(answering?.isStopping);
  send.hidden = Boolean(answering) && !hasText;
  send.setAttribute("aria-label", answering ? gettext("Ask next") : gettext("Send"));
  send.disabled = !updateCount(input, count);
}

// --- The keys

input.addEventListener("input", changed);

/**
 * Send the form of this box with Enter, also where the keyboard on the screen has no Shift+Enter.
 * @param {HTMLTextAreaElement} box
 */
export function sendWithEnter(box) {
  box.addEventListener("keydown", (event) => {
    const { key, shiftKey, ctrlKey, metaKey } = event;
    if (key !== "Enter" || shiftKey || isComposing(event)) return;
    if (touch.matches && !ctrlKey && !metaKey) return;
    event.preventDefault();
    box.form?.requestSubmit();
  });
}

sendWithEnter(input);

function nameEnter() {
  input.enterKeyHint = touch.matches ? "enter" : "send";
}

touch.addEventListener("change", nameEnter);
nameEnter();
