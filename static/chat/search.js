// The search of the chats: its keys, and the places that it leads to.

import { setDrawer } from "./chats.js";
import { isComposing } from "./keys.js";
import { byId } from "./thread.js";

const field = /** @type {HTMLInputElement} */ (byId("search"));
const list = byId("conversations");

// The server has shown this place. Loaded anew, the page shows the version that is chosen then.
if (new URLSearchParams(location.search).has("at")) {
  history.replaceState(history.state, "", location.pathname + location.hash);
}

function links() {
  return /** @type {HTMLElement[]} */ ([...list.querySelectorAll("a")]);
}

field.addEventListener("keydown", (event) => {
  if (isComposing(event)) return;
  if (event.key === "ArrowDown") move(event, links()[0]);
  else if (event.key === "Escape" && field.value) clear(event);
});

list.addEventListener("keydown", (event) => {
  const at = links().indexOf(/** @type {HTMLElement} */ (event.target));
  if (at < 0) return;
  if (event.key === "ArrowDown") move(event, links()[at + 1]);
  else if (event.key === "ArrowUp") move(event, links()[at - 1] ?? field);
  else if (event.key === "Escape" && field.value) clear(event);
});

/**
 * @param {KeyboardEvent} event
 * @param {HTMLElement | undefined} next
 */
function move(event, next) {
  event.preventDefault();
  next?.focus();
}

/** @param {KeyboardEvent} event that would otherwise close the drawer, or stop an answer */
function clear(event) {
  event.preventDefault();
  event.stopPropagation();
  field.value = "";
  field.dispatchEvent(new Event("search"));
  field.focus();
}

// A place that this page shows needs no other page.
list.addEventListener("click", (event) => {
  const link = /** @type {Element} */ (event.target).closest("a.place");
  const { hash } = /** @type {HTMLAnchorElement} */ (link ?? location);
  const isOther = event.ctrlKey || event.metaKey || event.shiftKey;
  if (!link || isOther || !document.getElementById(hash.slice(1))) return;
  event.preventDefault();
  setDrawer(false);
  history.replaceState(history.state, "", location.pathname);
  location.hash = hash;
});
