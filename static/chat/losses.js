// What the page says while it receives nothing of an answer.

import { gettext } from "./i18n.js";

/** @import { Loss } from "./connection.js" */

/** @type {Record<Loss, string>} */
export const LOST = {
  network: gettext("Connection lost. Reconnecting…"),
  restarting: gettext("The server is restarting. Trying again…"),
  limited: "", // the server says why, and when
  storage: "", // the server says it
  blocked: gettext(
    "A proxy on the way to the server lets neither WebSockets nor streams through, which bring the answers. Your question is kept. If the proxy is the server's own, the log of the server says what to set.",
  ),
  held: gettext(
    "The connection opens, but a proxy on the way holds back what the server sends. Trying again…",
  ),
  unreachable: gettext("The server cannot be reached. Your question and what came so far are kept."),
};
/** @type {Set<Loss>} After which the page tries no more. */
export const URGENT = new Set(["unreachable", "blocked"]);
