// Stepping through the versions of a question. The thread below follows the version, in all tabs.

import { live } from "./answer.js";
import { chatChanged, conversation } from "./chats.js";
import { keepPlace } from "./following.js";
import { gettext, interpolate } from "./i18n.js";
import { fetchTurns, takeTurns } from "./news.js";
import { root } from "./site.js";
import { announce, part, thread, turnOf, versionsOf } from "./thread.js";

let isStepping = false;

/**
 * Show the next or the previous version of the question at this button.
 * @param {HTMLElement} button
 */
export async function step(button) {
  const turn = turnOf(button);
  const { runs, place } = versionsOf(turn);
  const { action = "" } = button.dataset;
  const next = place + (action === "later-version" ? 1 : -1);
  const run = runs[next];
  if (!run || isStepping) return;
  if (live && !live.connection.isBegun) {
    announce(gettext("Your question is being sent. Wait until it is."));
    return;
  }
  isStepping = true;
  const html = await fetchTurns(`${root}c/${conversation}/versions/${run}/`, "POST");
  isStepping = false;
  if (html === null) {
    announce(gettext("The server did not do it. Try again."));
    return;
  }
  const { top } = button.getBoundingClientRect();
  const hadFocus = button.matches(":focus");
  takeTurns(html);
  const shown = /** @type {HTMLElement | null} */ (
    thread.querySelector(`.turn[data-turn="${turn.dataset.turn}"]`)
  );
  if (!shown) return;
  const same = part(shown, `[data-action=${action}]`);
  keepPlace(same, top);
  if (hadFocus) same.focus({ preventScroll: true });
  const found = versionsOf(shown);
  announce(
    interpolate(gettext("Version %(number)s of %(count)s"), {
      number: found.place + 1,
      count: found.runs.length,
    }),
  );
  chatChanged();
}

thread.addEventListener("keydown", (event) => {
  const { key, target, shiftKey, ctrlKey, metaKey, altKey } = event;
  const stepper = /** @type {Element} */ (target).closest(".versions");
  if (!stepper || (key !== "ArrowLeft" && key !== "ArrowRight")) return;
  if (shiftKey || ctrlKey || metaKey || altKey) return;
  event.preventDefault();
  const isMirrored = getComputedStyle(stepper).direction === "rtl";
  const isLater = (key === "ArrowRight") !== isMirrored;
  const button = part(stepper, `[data-action=${isLater ? "later" : "earlier"}-version]`);
  button.focus({ preventScroll: true });
  step(button);
});
