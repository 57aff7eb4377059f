// The steps of an answer are open while a team works, because there is nothing else to read, and fold
// with the first word of the answer. Once the reader has touched them, they stay as they are.

import { isFollowed } from "./following.js";
import { thread } from "./thread.js";

/** @import { Failure, Done, Shown } from "./connection.js" */

// Also the page that joins: the words may have come before.
const BRING_WORDS = ["response.delta", "response.snapshot"];

/** @type {WeakSet<Element>} The steps that the reader has touched. */
const touched = new WeakSet();

for (const kind of ["pointerdown", "keydown"]) {
  thread.addEventListener(kind, ({ target }) => {
    const steps = /** @type {Element} */ (target).closest(".steps");
    if (steps) touched.add(steps);
  });
}

/**
 * Open or fold the steps of an answer if this event, which is shown, is a reason to.
 * @param {Shown | Done | Failure} event
 * @param {HTMLElement} article
 */
export function showWork(event, article) {
  if (event.type === "routing.decided" && event.data.path === "full") setSteps(article, true);
  // A reader who has scrolled away may be reading them.
  else if (BRING_WORDS.includes(event.type) && isFollowed() && hasWords(article)) {
    setSteps(article, false);
  }
}

/** @param {HTMLElement} article */
function hasWords(article) {
  return article.querySelector(":scope > .prose > *") !== null;
}

/**
 * @param {HTMLElement} article
 * @param {boolean} open
 */
function setSteps(article, open) {
  /** @type {HTMLDetailsElement | null} */
  const steps = article.querySelector(":scope > .steps");
  if (steps && steps.open !== open && !touched.has(steps)) steps.open = open;
}
