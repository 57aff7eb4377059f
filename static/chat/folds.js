// Long questions are folded. The style sheet cuts them, so that no page shows them whole first; here
// is the button that opens them.

import { followEnd, stayHere } from "./following.js";
import { gettext, interpolate, ngettext, number } from "./i18n.js";
import { part, thread, turnOf } from "./thread.js";

const MANY = 12; // lines, which the button counts; as many as the style sheet shows

/** @param {HTMLElement} bubble */
const buttonOf = (bubble) => part(turnOf(bubble), "[data-action=fold]");

/** @param {HTMLElement} bubble */
const isWhole = (bubble) => bubble.classList.contains("whole");

/** @param {HTMLElement[]} bubbles */
function update(bubbles) {
  // Measure all before the first change, or the browser lays the page out for each.
  const measured = bubbles.map((bubble) => ({
    bubble,
    isCut: !isWhole(bubble) && bubble.scrollHeight > bubble.clientHeight + 1,
  }));
  for (const { bubble, isCut } of measured) {
    const button = buttonOf(bubble);
    const wasHidden = button.hidden;
    bubble.classList.toggle("cut", isCut);
    button.hidden = !isCut && !isWhole(bubble);
    button.setAttribute("aria-expanded", String(isWhole(bubble)));
    button.textContent = isWhole(bubble) ? gettext("Show less") : wordsFor(bubble);
    if (wasHidden && isCut) followEnd();
  }
}

/** @param {HTMLElement} bubble */
function wordsFor(bubble) {
  const lines = (bubble.textContent ?? "").trimEnd().split("\n").length;
  if (lines <= MANY) return gettext("Show all");
  const words = ngettext("Show the only line", "Show all %(lines)s lines", lines);
  return interpolate(words, { lines: number(lines) });
}

/** @param {HTMLElement} button */
export function pressFold(button) {
  const bubble = part(turnOf(button), ".bubble");
  bubble.classList.toggle("whole");
  bubble.scrollTop = 0; // a search on the page may have moved what is cut
  update([bubble]);
  if (isWhole(bubble)) stayHere();
  else turnOf(button).scrollIntoView({ block: "nearest" });
}

// --- All questions of the page, also those that come later

const sizes = new ResizeObserver((entries) => {
  update(entries.map(({ target }) => /** @type {HTMLElement} */ (target)));
});

function watchAll() {
  const bubbles = /** @type {HTMLElement[]} */ ([...thread.querySelectorAll(".bubble")]);
  for (const bubble of bubbles) sizes.observe(bubble);
  update(bubbles);
}

// Turns are children of the thread. What a stream changes is deeper.
new MutationObserver(watchAll).observe(thread, { childList: true });
watchAll();
