// The scroll position. The page keeps the end of the live answer in view, wherever that answer
// stands, until the reader scrolls away. Text that is being read stays where it is: the browser
// sees to that (scroll anchoring) whenever the page does not follow.

import { byId, part, thread } from "./thread.js";

const AT_END = 48; // px from the followed end that still count as being there
const GAP = 16; // px below what is brought into view

const scroller = byId("scroll");

// A link to a question, from a search, leads there.
let isFollowing = !document.getElementById(location.hash.slice(1) || "-");
let lastTop = 0;
/** The id of the answer that was live last; empty once the reader has seen its end. */
let latest = "";
/** The page followed when the reader last opened or closed a fold. */
let hasFollowed = true;

// --- The end that is followed

function isEmpty() {
  return document.getElementById("empty") !== null;
}

/** Return the answer that is live, or was live last. */
function latestAnswer() {
  const live = thread.querySelector("[data-answer][aria-busy=true]");
  if (live) latest = live.id;
  return live ?? document.getElementById(latest);
}

function distanceFromEnd() {
  return scroller.scrollHeight - scroller.clientHeight - scroller.scrollTop;
}

/** Return how many px the followed end is below the view; less than 0: in the view or above it. */
function distanceBelow() {
  const answer = latestAnswer();
  if (!answer || !answer.closest(".turn")?.nextElementSibling) return distanceFromEnd();
  const shown = answer.closest("details:not([open])") ?? answer;
  const end = shown.getBoundingClientRect().bottom + GAP;
  return Math.ceil(end - scroller.getBoundingClientRect().bottom);
}

/** Return true if the page keeps the end of the live answer in view. */
export function isFollowed() {
  return isFollowing;
}

function isInView() {
  const below = distanceBelow();
  return below < AT_END && below > AT_END - scroller.clientHeight;
}

/** Scroll to the followed end if the reader is there, or `always`. */
export function followEnd(always = false) {
  if (always) isFollowing = true;
  const below = distanceBelow();
  if (isFollowing && !isEmpty() && (below > 0 || !isInView())) scroller.scrollTop += below;
  lastTop = scroller.scrollTop;
  settle();
}

/** Once the reader has seen how the latest answer ended, only the end of the thread is followed. */
function settle() {
  const answer = latestAnswer();
  if (answer && answer.getAttribute("aria-busy") !== "true" && isInView()) {
    latest = "";
    isFollowing = distanceFromEnd() < AT_END;
    byId("jump").hidden = true;
    return;
  }
  const isShort = scroller.scrollHeight <= scroller.clientHeight + AT_END;
  byId("jump").hidden = isFollowing || isShort || isEmpty();
}

/** Follow no longer if the followed end is out of sight: the reader has opened something to read. */
export function stayHere() {
  if (!isInView()) isFollowing = false;
  settle();
}

/**
 * Keep an element at this place of the view, where what it replaces stood.
 * @param {Element} element
 * @param {number} top
 */
export function keepPlace(element, top) {
  scroller.scrollTop += element.getBoundingClientRect().top - top;
  lastTop = scroller.scrollTop;
  isFollowing = false;
  settle();
}

// --- What moves it

function scrolled() {
  // Growing content and the page itself only scroll towards the followed end. All else is the
  // reader's doing.
  if (isInView()) isFollowing = true;
  else if (scroller.scrollTop < lastTop || distanceBelow() < 0) isFollowing = false;
  lastTop = scroller.scrollTop;
  settle();
}

scroller.addEventListener("scroll", scrolled, { passive: true });
// The window, the keyboard of a phone, what an answer brings, folds, fonts.
const sizes = new ResizeObserver(() => followEnd());
sizes.observe(scroller);
sizes.observe(thread);

// Earlier questions are inserted above the text that is being read. Keep that text where it is.
thread.addEventListener("htmx:beforeSwap", (event) => {
  const { target, detail } = /** @type {CustomEvent<{ shouldSwap: boolean }>} */ (event);
  if (!detail.shouldSwap || !(/** @type {Element} */ (target).matches(".older"))) return;
  const below = distanceFromEnd();
  const shown = () => {
    scroller.scrollTop = scroller.scrollHeight - scroller.clientHeight - below;
    const button = /** @type {HTMLElement | null} */ (thread.querySelector(".older button"));
    (button ?? scroller).focus({ preventScroll: true });
  };
  thread.addEventListener("htmx:afterSwap", shown, { once: true });
});

// --- Folds

// A fold changes the page's size, so this must be known before.
thread.addEventListener("click", ({ target }) => {
  const fold = /** @type {Element} */ (target).closest("summary")?.parentElement;
  if (!fold || !thread.contains(fold)) return;
  hasFollowed = isFollowing;
  // A reader who opens a step wants to read it, and not to be taken to the end. All steps of the
  // live answer are only more of it: its end stays in view.
  if (!fold.matches(".steps") || fold.parentElement !== latestAnswer()) isFollowing = false;
});

/**
 * Bring into view what a fold holds, as far as its summary stays in view.
 * @param {HTMLDetailsElement} fold
 */
function reveal(fold) {
  const view = scroller.getBoundingClientRect();
  // The fold itself may have no box.
  const end = part(fold, ":scope > :last-child").getBoundingClientRect().bottom;
  const above = part(fold, "summary").getBoundingClientRect().top - view.top;
  scroller.scrollTop += Math.max(0, Math.min(end + GAP - view.bottom, above));
}

// The listener captures, because `toggle` does not bubble.
thread.addEventListener("toggle", ({ target }) => {
  if (!(target instanceof HTMLDetailsElement)) return;
  // A live answer follows its own end.
  if (target.open && !target.closest("[aria-busy=true]")) reveal(target);
  if (hasFollowed && isInView()) isFollowing = true;
  settle();
}, true);
