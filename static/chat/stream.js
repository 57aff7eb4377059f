// Starts the page's script, and connects what the reader presses with what it does.

import { lookAhead } from "./ahead.js";
import { ask, askAgain, askEdited, begin, comeBack, live } from "./answer.js";
import { giveUpChanges, pressInCard } from "./asks.js";
import { confirmOrReload, hide } from "./back.js";
import { pressChatMenu } from "./chatmenu.js";
import { setDrawer } from "./chats.js";
import { onChosen, pressInMenu } from "./choices.js";
import { copy } from "./clipboard.js";
import { input, onChanged, take, write } from "./composer.js";
import "./dialogs.js";
import { switchNotifications } from "./done.js";
import { cancelEdit, edit, leaveEdit, takeEdit } from "./editing.js";
import { pressFold } from "./folds.js";
import { followEnd } from "./following.js";
import { gettext } from "./i18n.js";
import { isComposing, isShortcut, isSlash } from "./keys.js";
import { checkNews, lookForNews } from "./news.js";
import { takeBackWaiting } from "./queue.js";
import "./selection.js";
import "./search.js";
import { byId, part, startClocks, thread, tick, turnOf } from "./thread.js";
import { step } from "./versions.js";

// --- Buttons

/** @param {Element} button */
const answerOf = (button) => /** @type {HTMLElement} */ (button.closest("[data-answer]"));

/** @type {Record<string, (button: HTMLElement) => void>} */
const ACTIONS = {
  again: (button) => askAgain(answerOf(button)),
  team: (button) => askAgain(answerOf(button), { mode: "full" }),
  fresh: (button) => askAgain(answerOf(button), { mode: button.dataset.mode, fresh: true }),
  continue: () => ask(gettext("Continue.")),
  stop: () => {
    live?.stop();
    input.focus();
  },
  "stop-and-ask": () => {
    live?.stopAndAskAgain();
    input.focus();
  },
  retry: () => live?.connection.retryNow(),
  "take-back": (button) => takeBackWaiting(/** @type {Element} */ (button.closest("li"))),
  "give-up": () => live?.takeBack(),
  edit: (button) => edit(turnOf(button)),
  "cancel-edit": cancelEdit,
  "earlier-version": step,
  "later-version": step,
  fold: pressFold,
  jump: () => {
    followEnd(true);
    // The button is gone, and the focus would go with it.
    if (hasKeyboard.matches) input.focus();
    else byId("scroll").focus();
  },
  drawer: () => setDrawer(!document.body.classList.contains("drawer-open")),
  running: () => setDrawer(true),
  notify: switchNotifications,
};

// On a touch screen, a field that gets the focus covers half of the page with a keyboard.
const hasKeyboard = matchMedia("(pointer: fine)");

/** @type {HTMLAnchorElement | null} The citation that the reader followed last. */
let citation = null;

document.addEventListener("click", (event) => {
  const target = /** @type {Element} */ (event.target);
  const button = /** @type {HTMLElement | null} */ (target.closest("button, [data-action]"));
  // Close menus before the button does its work: a dialog that closes gives the focus back to what
  // had it before, and nothing inside a closed menu can have it.
  for (const menu of openMenus()) {
    const stays = target.closest("[data-stays-open]");
    if (!part(menu, "summary").contains(target) && !menu.contains(stays)) closeMenu(menu);
  }
  if (button) press(button);
  const link = /** @type {HTMLAnchorElement | null} */ (target.closest("a.citation"));
  if (link) {
    citation = link;
    // Not every browser opens the fold that a link leads into.
    const source = document.getElementById(link.hash.slice(1));
    source?.closest("details")?.setAttribute("open", "");
  }
});

/** @param {HTMLElement} button */
function press(button) {
  const { action, ask: inCard, decide, copy: what, example, open } = button.dataset;
  if (inCard || decide) pressInCard(button);
  if (action) ACTIONS[action]?.(button);
  if (what) copy(button, what);
  if (pressInMenu(button)) input.focus();
  pressChatMenu(button);
  if (example) {
    input.focus();
    write(example);
  }
  if (open) /** @type {HTMLDialogElement} */ (byId(open)).showModal();
  if ("close" in button.dataset) button.closest("dialog")?.close();
}

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = take();
  if (text !== null) ask(text);
});

thread.addEventListener("submit", (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  if (!form.matches("[data-edit]")) return;
  event.preventDefault();
  const edited = takeEdit(form);
  if (edited) askEdited(edited);
});

// Back from a source leads to where it was cited. Browsers restore the scroll position of the page
// only, and here an element scrolls.
addEventListener("hashchange", () => {
  if (!location.hash) citation?.focus();
});

// --- Keys for the whole page

document.addEventListener("keydown", (event) => {
  if (isComposing(event)) return;
  const target = /** @type {Element} */ (event.target);
  if (isShortcut(event, "k")) {
    event.preventDefault();
    setDrawer(true);
    byId("search").focus();
  } else if (isSlash(event) && !target.closest("input, textarea, select, [contenteditable]")) {
    event.preventDefault();
    setDrawer(false);
    input.focus();
  } else if (event.key === "Escape" && !document.querySelector("dialog[open], :popover-open")) {
    closeOrStop(target);
  }
});

/**
 * Close what is open on the page; if nothing is, stop the answer.
 * @param {Element} target
 */
function closeOrStop(target) {
  const [menu] = openMenus();
  if (menu) closeMenu(menu);
  else if (giveUpChanges(target) || leaveEdit(target)) return;
  else if (document.body.classList.contains("drawer-open")) setDrawer(false);
  else if (live && !live.connection.isStopping && target.id !== "search") {
    live.stop();
    input.focus();
  }
}

// --- Menus

function openMenus() {
  const menus = document.querySelectorAll("[data-menu][open]");
  return /** @type {NodeListOf<HTMLDetailsElement>} */ (menus);
}

/** @param {HTMLDetailsElement} menu */
function closeMenu(menu) {
  const hadFocus = menu.contains(document.activeElement);
  menu.open = false;
  if (hadFocus) part(menu, "summary").focus();
}

// A menu that the keyboard leaves is closed.
document.addEventListener("focusout", ({ target, relatedTarget }) => {
  const left = /** @type {Element} */ (target).closest("[data-menu][open]");
  const menu = /** @type {HTMLDetailsElement | null} */ (left);
  const next = /** @type {Element | null} */ (relatedTarget);
  if (menu && next && !menu.contains(next)) menu.open = false;
});

// --- The network, the page and time

addEventListener("offline", () => live?.connection.lose("network"));
addEventListener("online", () => live?.connection.retryNow());
// Browsers run a hidden page's timers rarely, so check at once when it is shown.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) live?.connection.check();
});
// A browser keeps a page for Back only if it has no open socket.
addEventListener("pagehide", (event) => {
  live?.connection.disconnect();
  if (event.persisted) hide();
});
addEventListener("pageshow", async (event) => {
  // Nothing is asked before: somebody else may be signed in now.
  if (!event.persisted || !(await confirmOrReload())) return;
  live?.connection.open();
  comeBack();
  lookForNews();
});
onChanged(lookAhead);
onChosen(lookAhead);
startClocks();
setInterval(() => {
  tick();
  live?.connection.check();
  checkNews();
}, 1_000);

begin();
if (hasKeyboard.matches && document.activeElement === document.body && !location.hash) {
  input.focus({ preventScroll: true });
}
