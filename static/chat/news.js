// What other tabs, browsers and devices did in this chat: turns that this page doesn't have.
//
// Other tabs of this browser tell of their changes. Everything else is found when the reader comes
// back to the page. An idle page asks for nothing.

import { joinUnfinished, live } from "./answer.js";
import { isUnconfirmed } from "./back.js";
import {
  checkRunning, conversation, joinOtherTabs, leave, leaveOtherTabs, refreshList, retitle,
} from "./chats.js";
import { account, byId, foldAway, htmx, room, setNumber, startClocks, thread } from "./thread.js";

const LULL = 200; // ms in which several reasons to look become one look

/** An answer is being followed; look again when it has ended. */
let isPutOff = false;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/** Look soon for news of this chat, and show the list of chats as it is now. */
export function lookForNews() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    if (isUnconfirmed()) return;
    refreshList();
    catchUp();
  }, LULL);
}

async function catchUp() {
  isPutOff = live !== null;
  const chat = conversation;
  if (isPutOff || !chat) return;
  const path = `/c/${chat}/turns/?after=${room.dataset.newest}`;
  const headers = { "HX-Request": "true", "Fleet-Account": account };
  const response = await fetch(path, { headers }).catch(() => null);
  // Meanwhile the reader may have asked.
  isPutOff = live !== null;
  if (!response || isPutOff || chat !== conversation) return;
  const elsewhere = response.headers.get("HX-Redirect");
  if (response.headers.has("HX-Refresh")) location.reload();
  else if (elsewhere) location.assign(elsewhere);
  else if (response.status === 404) leave();
  else if (response.ok) take(await response.text());
}

/** @param {string} html turns with answers that are newer than those this page knows */
function take(html) {
  const parsed = document.createElement("template");
  parsed.innerHTML = html;
  const news = /** @type {HTMLElement} */ (parsed.content.firstElementChild);
  const { newest, title, more } = news.dataset;
  room.dataset.newest = newest;
  const turns = /** @type {NodeListOf<HTMLElement>} */ (news.querySelectorAll(":scope > .turn"));
  /** @type {Element | null} */
  let next = null;
  // From the last to the first, because a turn that is new here goes before one that isn't.
  for (const turn of [...turns].reverse()) next = takeTurn(turn, next) ?? next;
  htmx.process(thread);
  startClocks();
  checkTitle(title ?? "");
  joinUnfinished();
  retitle();
  if (more) catchUp();
}

/**
 * Show the title anew, with its menu and dialogs, if it isn't this and none of them is open.
 * @param {string} title
 */
function checkTitle(title) {
  const place = byId("room-title");
  const isShown = place.querySelector("h1")?.textContent === title;
  if (isShown || place.querySelector("[open]")) return;
  place.dataset.of = "";
  refreshList();
}

/**
 * Return the turn of this page that shows `turn` now; null if it stands before those shown.
 * @param {HTMLElement} turn
 * @param {Element | null} next
 */
function takeTurn(turn, next) {
  const answers = /** @type {HTMLElement[]} */ ([...turn.querySelectorAll("[data-answer]")]);
  const known = answers.map(({ id }) => document.getElementById(id)?.closest(".turn"));
  const shown = document.getElementById(turn.id) ?? known.find(Boolean);
  if (!shown) {
    const first = /** @type {HTMLElement | null} */ (thread.querySelector(".turn"));
    if (first && Number(turn.dataset.turn) < Number(first.dataset.turn)) return null;
    thread.insertBefore(turn, next);
    return turn;
  }
  const turnHere = /** @type {HTMLElement} */ (shown);
  for (const answer of answers) takeAnswer(answer, turnHere);
  // Asked here before the page had those that others asked meanwhile.
  setNumber(turnHere, Number(turn.dataset.turn));
  return turnHere;
}

/**
 * @param {HTMLElement} answer
 * @param {HTMLElement} turn of this page
 */
function takeAnswer(answer, turn) {
  const shown = document.getElementById(answer.id);
  if (!shown) {
    for (const open of turn.querySelectorAll(":scope > [data-answer]")) {
      foldAway(/** @type {HTMLElement} */ (open), turn);
    }
    turn.append(answer);
  } else if (shown.dataset.workflowId !== answer.dataset.workflowId) {
    // It was paused, and somebody replied elsewhere.
    shown.replaceWith(answer);
  }
}

// --- Reasons to look

/** @param {string | null} chat another tab has changed it */
function told(chat) {
  if (chat === conversation) lookForNews();
  else refreshList();
}

joinOtherTabs(told);
// A browser keeps a page for Back only if it listens to no other.
addEventListener("pagehide", leaveOtherTabs);
addEventListener("pageshow", ({ persisted }) => {
  if (persisted) joinOtherTabs(told);
});
addEventListener("focus", lookForNews);
addEventListener("online", lookForNews);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) lookForNews();
});

/** To be called every second. */
export function checkNews() {
  if (isPutOff && !live) lookForNews();
  checkRunning(live !== null);
}
