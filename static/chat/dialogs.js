// Dialogs whose content the server sends.

import { gettext, interpolate, ngettext } from "./i18n.js";
import { announce, byId, linkState } from "./thread.js";

const NOTE_TIME = 8_000; // ms

/** @typedef {{ xhr: XMLHttpRequest, shouldSwap: boolean, isError: boolean }} Swapped */

/**
 * Return the dialog that a request belongs to: the one around its element, or that this one opens.
 * @param {EventTarget | null} target
 */
function dialogOf(target) {
  const element = /** @type {HTMLElement} */ (target);
  const name = element.dataset.open;
  return name ? document.getElementById(name) : element.closest("dialog");
}

/**
 * @param {EventTarget | null} target
 * @param {string} words
 */
function say(target, words) {
  const place = dialogOf(target)?.querySelector("[data-dialog-fault]");
  if (place) place.textContent = words;
}

// Without an answer of the server a dialog must say so, and other parts of the page, too.
for (const failure of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(failure, (event) => {
    const { xhr } = /** @type {CustomEvent<Swapped>} */ (event).detail;
    const isAway = xhr?.status === 503;
    // While its database takes nothing, the server sends the words alone.
    const words = isAway ? textIn(xhr.responseText) : gettext("The server did not do it. Try again.");
    if (dialogOf(event.target)) say(event.target, words);
    else if ((isAway || isChoice(event.target)) && byId("link-state").hidden) {
      linkState(words);
      setTimeout(() => linkState(null, [], { onlyIf: words }), NOTE_TIME);
    }
  });
}

/**
 * A choice that the server didn't keep holds for this page.
 * @param {EventTarget | null} target
 */
function isChoice(target) {
  return /** @type {HTMLElement} */ (target).closest("[data-choice]") !== null;
}

/** @param {string} html */
function textIn(html) {
  return new DOMParser().parseFromString(html, "text/html").body.textContent?.trim() ?? "";
}

document.addEventListener("htmx:beforeRequest", ({ target }) => say(target, ""));

// What the server refused comes back in its form, with the reason.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { detail } = /** @type {CustomEvent<Swapped>} */ (event);
  if (detail.xhr.status !== 422) return;
  detail.shouldSwap = true;
  detail.isError = false;
});

// --- A link: to select it is to copy it

document.addEventListener("focusin", ({ target }) => {
  if (target instanceof HTMLInputElement && target.readOnly) target.select();
});

// --- Instructions

const instructions = /** @type {HTMLDialogElement} */ (byId("instructions"));

function count() {
  const text = instructions.querySelector("textarea");
  if (!text) return;
  const most = Number(text.dataset.maxCharacters);
  // The server counts characters as this does, without blanks around the text.
  const { length } = [...text.value.trim()];
  const place = byId("instructions-count");
  const left = most - length;
  place.classList.toggle("bad", left < 0);
  text.setAttribute("aria-invalid", String(left < 0));
  place.textContent = interpolate(
    ngettext("%(count)s of %(most)s character", "%(count)s of %(most)s characters", most),
    { count: length.toLocaleString(), most: most.toLocaleString() },
  );
}

instructions.addEventListener("input", count);
instructions.addEventListener("htmx:afterSwap", count);
document.addEventListener("fleet:instructions-kept", () => {
  instructions.close();
  announce(gettext("Instructions saved"));
});
