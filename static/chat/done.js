// Tells a reader who looks at something else that an answer has ended: in the tab's title, and with
// a notification of the system, if they have switched that on. Neither has words of the answer.

import { gettext, interpolate } from "./i18n.js";
import { inBrowser, keyOf } from "./storage.js";
import { byId } from "./thread.js";

/** @typedef {"completed" | "failed" | "paused"} Ending how an answer ended by itself */

const SETTLE = 500; // ms in which a tab that the reader sees takes an ending before hidden ones
const MAX_KEPT = 20; // runs of which a notification was shown

const button = byId("notify");

// --- The tab's title

/** @type {Ending | null} What the reader has not seen yet. */
let unseen = null;
let onSeen = () => {};

/**
 * Return the tab's title with what its reader should know.
 * @param {string} title
 * @param {boolean} isWaiting an answer waits for this reader
 */
export function marked(title, isWaiting) {
  if (isWaiting) return interpolate(gettext("(waiting) %(title)s"), { title });
  if (unseen === "failed") return interpolate(gettext("(failed) %(title)s"), { title });
  return unseen ? interpolate(gettext("(done) %(title)s"), { title }) : title;
}

/**
 * Call this once the reader has come back to an answer that ended meanwhile.
 * @param {() => void} callback
 */
export function whenSeen(callback) {
  onSeen = callback;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden || !unseen) return;
  unseen = null;
  onSeen();
});

/**
 * Take notice of an answer that has ended.
 * @param {{ run: string, ending: Ending, title: string }} answer with the title of its chat
 */
export function noteEnding({ run, ending, title }) {
  if (document.hidden) unseen = ending;
  if (isOn()) notify(run, ending, title);
}

// --- Notifications

const WORDS = {
  completed: gettext("Answer complete"),
  failed: gettext("The answer failed"),
  paused: gettext("The answer waits for you"),
};

const isOn = () =>
  "Notification" in window &&
  Notification.permission === "granted" &&
  inBrowser.get("notify") === "on";

/**
 * @param {string} run
 * @param {Ending} ending
 * @param {string} title
 */
async function notify(run, ending, title) {
  if (document.hidden) await new Promise((resolve) => setTimeout(resolve, SETTLE));
  // One that the reader sees here needs none, in no tab.
  if (!(await isFirst(run)) || !document.hidden) return;
  const icon = document.querySelector('link[rel="apple-touch-icon"]')?.getAttribute("href") ?? "";
  try {
    const shown = new Notification(WORDS[ending], { body: title, tag: keyOf(run), icon });
    shown.onclick = () => {
      window.focus();
      shown.close();
    };
  } catch {
    // Browsers of phones have the object, but show none for a page.
    set(false, gettext("This browser shows no notifications."));
  }
}

/**
 * Return true for the first tab that asks for this run.
 * @param {string} run
 */
function isFirst(run) {
  return navigator.locks.request(keyOf("notified"), () => {
    /** @type {string[]} */
    const known = JSON.parse(inBrowser.get("notified") ?? "[]");
    if (known.includes(run)) return false;
    inBrowser.set("notified", JSON.stringify([...known, run].slice(-MAX_KEPT)));
    return true;
  });
}

/** Switch notifications on or off. Browsers ask for the permission within a click only. */
export async function switchNotifications() {
  if (isOn()) {
    set(false);
  } else if (!("Notification" in window) || !isSecureContext) {
    set(false, gettext("Notifications need a page with https."));
  } else if ((await Notification.requestPermission()) !== "granted") {
    set(false, gettext("Notifications are blocked in this browser's settings for the page."));
  } else {
    set(true, gettext("Shown while you look at another tab or window."));
  }
}

/**
 * @param {boolean} on
 * @param {string} words
 */
function set(on, words = "") {
  inBrowser.set("notify", on ? "on" : null);
  showSwitch();
  byId("notify-words").textContent = words;
}

function showSwitch() {
  button.setAttribute("aria-checked", String(isOn()));
}

// Switched in another tab.
addEventListener("storage", ({ key }) => {
  if (key === keyOf("notify")) showSwitch();
});
showSwitch();
