// What other tabs, browsers and devices did in this chat: turns that this page doesn't have.
//
// Other tabs of this browser tell of their changes. Everything else is found when the reader comes
// back to the page. An idle page asks for nothing.

import { askNext, joinUnfinished, leaveHidden, live } from "./answer.js";
import { isUnconfirmed } from "./back.js";
import {
  checkRunning, conversation, joinOtherTabs, leave, leaveOtherTabs, refreshList, retitle,
} from "./chats.js";
import { giveBackEdits } from "./editing.js";
import { root } from "./site.js";
import {
  byId, foldAway, headers, htmx, room, runOf, setNumber, setVersions, startClocks, thread, versionsOf,
} from "./thread.js";

const LULL = 200; // ms in which several reasons to look become one look

/** An answer is being followed; look again when it has ended. Other versions are shown at once. */
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
  const chat = conversation;
  isPutOff = live !== null;
  if (!chat || isAsking()) return;
  const query = `after=${room.dataset.newest}&shown=${lastRun()}`;
  const html = await fetchTurns(`${root}c/${chat}/turns/?${query}`);
  // Meanwhile the reader may have asked.
  isPutOff = live !== null;
  if (html !== null && !isAsking() && chat === conversation) takeTurns(html);
}

/** Return true while the server may know nothing of the last question of this page. */
function isAsking() {
  return live !== null && !live.connection.isBegun;
}

/** Return the run of the last question of this page, by which the server knows its versions. */
function lastRun() {
  return [...thread.querySelectorAll(".turn")].map(runOf).findLast(Boolean) ?? "";
}

/**
 * Return the turns that the server shows at this address; null if it shows none.
 * @param {string} path
 * @param {"GET" | "POST"} method
 */
export async function fetchTurns(path, method = "GET") {
  const chat = conversation;
  const response = await fetch(path, { method, headers: headers() }).catch(() => null);
  if (!response || chat !== conversation) return null;
  const elsewhere = response.headers.get("HX-Redirect");
  if (response.headers.has("HX-Refresh")) location.reload();
  else if (elsewhere) location.assign(elsewhere);
  else if (response.status === 404) {
    giveBackEdits();
    leave();
  }
  return response.ok ? response.text() : null;
}

/**
 * Show turns that are newer than those this page knows, or other versions of its questions.
 * @param {string} html
 */
export function takeTurns(html) {
  const parsed = document.createElement("template");
  parsed.innerHTML = html;
  const news = /** @type {HTMLElement} */ (parsed.content.firstElementChild);
  const { newest, title, more, fork } = news.dataset;
  if (live && !fork) return;
  room.dataset.newest = newest;
  if (fork) {
    replaceFrom(Number(fork), news);
    leaveHidden();
  } else {
    const turns = /** @type {HTMLElement[]} */ ([...news.querySelectorAll(":scope > .turn")]);
    /** @type {Element | null} */
    let next = null;
    // From the last to the first, because a turn that is new here goes before one that isn't.
    for (const turn of turns.reverse()) next = takeTurn(turn, next) ?? next;
  }
  htmx.process(thread);
  startClocks();
  checkTitle(title ?? "");
  if (!live) joinUnfinished();
  if (!live) askNext();
  retitle();
  if (more) catchUp();
}

/**
 * Show other turns in place of all from this number on.
 * @param {number} fork
 * @param {Element} news the turns, with buttons for those before and behind them
 */
function replaceFrom(fork, news) {
  for (const each of /** @type {HTMLElement[]} */ ([...thread.children])) {
    if (Number(each.dataset.turn) >= fork) each.remove();
  }
  const kept = /** @type {HTMLElement[]} */ ([...thread.querySelectorAll(".turn")]).at(-1);
  const first = /** @type {HTMLElement | null} */ (news.querySelector(".turn"));
  const goesOn = Number(kept?.dataset.turn) + 1 === Number(first?.dataset.turn);
  if (!goesOn) thread.replaceChildren();
  thread.append(...[...news.children].filter((each) => !goesOn || !each.matches(".older")));
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
  const { runs, place } = versionsOf(turn);
  setVersions(turnHere, runs, place);
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
