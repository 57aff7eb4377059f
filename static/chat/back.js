// A page that the browser has kept for Back and Forward. While it was away, its reader may have
// signed out, and its chat may have been deleted or have gone on.

import { conversation, refreshList, room, thread } from "./thread.js";

/** Hide the page, so that it is not seen again before it is confirmed. */
export function hide() {
  document.documentElement.dataset.unconfirmed = "";
}

/**
 * Show the page again if the server confirms it; load it anew if not.
 * @param {boolean} isLive an answer is being followed, and rejoining it brings what is new
 */
export async function confirmOrReload(isLive) {
  if (await isCurrent(isLive)) {
    delete document.documentElement.dataset.unconfirmed;
    refreshList();
  } else {
    location.reload();
  }
}

/** @param {boolean} isLive */
async function isCurrent(isLive) {
  const { currentUrl = "", reader = "" } = room.dataset;
  const query = new URLSearchParams({ reader });
  if (conversation && !isLive) query.set("conversation", conversation);
  try {
    const response = await fetch(`${currentUrl}?${query}`);
    const { is_current, newest } = await response.json();
    return is_current && (!newest || thread.querySelector(`[data-workflow-id="${newest}"]`));
  } catch {
    return false; // no server, or a page to sign in
  }
}
