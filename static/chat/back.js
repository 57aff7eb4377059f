// A page that the browser has kept for Back and Forward. While it was away, its reader may have
// signed out, and its chat may have been deleted.

import { conversation } from "./chats.js";
import { room } from "./thread.js";

const { dataset } = document.documentElement;

/** Hide the page, so that it is not seen again before it is confirmed. */
export function hide() {
  dataset.unconfirmed = "";
}

/** Return true while the page is hidden: it may be another reader's. */
export function isUnconfirmed() {
  return dataset.unconfirmed !== undefined;
}

/** Show the page again if the server confirms it, and return true; load it anew if not. */
export async function confirmOrReload() {
  const isCurrent = await isConfirmed();
  if (isCurrent) delete dataset.unconfirmed;
  else location.reload();
  return isCurrent;
}

async function isConfirmed() {
  const { currentUrl = "", reader = "" } = room.dataset;
  const query = new URLSearchParams({ reader, conversation: conversation ?? "" });
  try {
    const response = await fetch(`${currentUrl}?${query}`);
    return Boolean((await response.json()).is_current);
  } catch {
    return false; // no server, or a page to sign in
  }
}
