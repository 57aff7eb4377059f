// Which path the question that is being written would take, shown beside the button that sends it.
//
// The server is asked in a pause of typing, and only if the path is open. Nothing waits for it.

import { conversation } from "./chats.js";
import { chosenMode, chosenModel, chosenPreference } from "./choices.js";
import { input } from "./composer.js";
import { gettext } from "./i18n.js";
import { announce, headers } from "./thread.js";

const PAUSE = 300; // ms without a key, after which the server is asked
const SAID_AFTER = 1_500; // ms in which nothing changes, after which a screen reader says it
const MIN_CHARACTERS = 8; // of a text that may be a question
const MAX_CHARACTERS = 4_000; // as in chat/preview.py

/** @type {HTMLElement | null} Only if there is a team. */
const hint = document.getElementById("ahead");
const WORDS = {
  light: { shown: gettext("One agent"), said: gettext("One agent would answer") },
  full: { shown: gettext("The team"), said: gettext("The team would answer") },
};

/** @typedef {keyof typeof WORDS} Path */

let asking = new AbortController();
/** @type {ReturnType<typeof setTimeout> | undefined} */
let pause;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let silence;
/** @type {Path | null} */
let said = null;
let notBefore = 0; // ms of performance.now()

/** Ask soon which path the text takes: it has changed, or what is chosen for it. */
export function lookAhead() {
  if (!hint) return;
  forget();
  const text = input.value.trim();
  const isOpen = chosenMode() === "auto";
  if (!isOpen || text.length < MIN_CHARACTERS || text.length > MAX_CHARACTERS) {
    said = null;
    show(null);
    return;
  }
  pause = setTimeout(() => look(text), Math.max(PAUSE, notBefore - performance.now()));
}

/** Ask nothing more about what was written until now. */
function forget() {
  clearTimeout(pause);
  clearTimeout(silence);
  asking.abort();
}

/** @param {string} text */
async function look(text) {
  const { signal } = (asking = new AbortController());
  const path = await pathOf(text, signal).catch(() => null);
  if (!signal.aborted) show(path);
}

/**
 * Return the path of a text; null if it isn't sure, or the server doesn't say it.
 * @param {string} message
 * @param {AbortSignal} signal
 * @returns {Promise<Path | null>}
 */
async function pathOf(message, signal) {
  const body = new URLSearchParams({ message, preference: chosenPreference() ?? "" });
  body.set("conversation", conversation ?? "");
  body.set("model", chosenModel() ?? "");
  const url = hint?.dataset.previewUrl ?? "";
  const response = await fetch(url, { method: "POST", headers: headers(), body, signal });
  if (response.status === 429) {
    notBefore = performance.now() + Number(response.headers.get("Retry-After")) * 1_000;
  }
  const isAnswer = response.headers.get("Content-Type") === "application/json";
  return response.ok && isAnswer ? (await response.json()).path : null;
}

/** @param {Path | null} path */
function show(path) {
  if (!hint) return;
  hint.hidden = path === null;
  hint.textContent = path ? WORDS[path].shown : "";
  hint.title = path ? WORDS[path].said : "";
  if (!path || path === said) return;
  silence = setTimeout(() => {
    said = path;
    announce(WORDS[path].said);
  }, SAID_AFTER);
}

// A request that is open would keep the browser from keeping the page.
addEventListener("pagehide", forget);
