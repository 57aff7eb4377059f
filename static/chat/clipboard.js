// Copying answers, code and details, with and without https.

import { gettext } from "./i18n.js";
import { announce, byId, part } from "./thread.js";

const RESULT_TIME = 1_500; // ms for which a button shows the result

/**
 * Copy what this button is for, and show the result on it.
 * @param {HTMLElement} button
 * @param {string} what
 */
export async function copy(button, what) {
  let isCopied = true;
  try {
    await toClipboard(textToCopy(button, what), button);
  } catch {
    isCopied = false;
  }
  const icon = button.querySelector("use");
  if (icon) {
    showOnIcon(button, icon, isCopied);
    return;
  }
  const label = button.textContent;
  button.textContent = resultOf(isCopied);
  setTimeout(() => (button.textContent = label), RESULT_TIME);
}

/**
 * @param {HTMLElement} button
 * @param {string} what
 * @returns {string | Promise<string>}
 */
function textToCopy(button, what) {
  if (what === "answer") return fetchText(button.dataset.url ?? "");
  if (what === "link") return button.parentElement?.querySelector("input")?.value ?? "";
  const place = what === "code" ? button.closest(".code") : button.parentElement;
  const text = part(/** @type {Element} */ (place), what === "code" ? "code" : "[data-details]");
  return text.textContent ?? "";
}

/** @param {string} url */
async function fetchText(url) {
  const reply = await fetch(url);
  if (!reply.ok) throw new Error(String(reply.status));
  return reply.text();
}

/**
 * @param {HTMLElement} button
 * @param {SVGUseElement} icon
 * @param {boolean} isCopied
 */
function showOnIcon(button, icon, isCopied) {
  const before = icon.getAttribute("href") ?? "";
  if (before.endsWith("#check")) return;
  button.title = resultOf(isCopied);
  announce(button.title);
  if (isCopied) icon.setAttribute("href", before.replace(/#.*/, "#check"));
  setTimeout(() => {
    icon.setAttribute("href", before);
    button.title = button.getAttribute("aria-label") ?? "";
  }, RESULT_TIME);
}

/** @param {boolean} isCopied */
function resultOf(isCopied) {
  return isCopied ? gettext("Copied") : gettext("Not copied");
}

/**
 * @param {string | Promise<string>} text
 * @param {HTMLElement} button
 */
async function toClipboard(text, button) {
  // Without https there is no clipboard object.
  if (!navigator.clipboard || !window.ClipboardItem) {
    copySelected(await text, button.closest("dialog"));
    return;
  }
  // Pass the promise, not its text: the browser wants the write to begin within the click.
  const blob = Promise.resolve(text).then((words) => new Blob([words], { type: "text/plain" }));
  await navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })]);
}

/**
 * @param {string} text
 * @param {HTMLElement | null} dialog that is open: nothing outside of it can be selected
 */
function copySelected(text, dialog) {
  const before = /** @type {HTMLElement | null} */ (document.activeElement);
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  (dialog ?? document.body).append(area);
  area.select();
  const isDone = document.execCommand("copy");
  area.remove();
  (dialog ? before : byId("composer-text"))?.focus({ preventScroll: true }); // the area had it
  if (!isDone) throw new Error("not copied");
}
