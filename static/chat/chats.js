// The list of chats, the chat that this page shows, and what other tabs are told of both.

import { marked, whenSeen } from "./done.js";
import { root } from "./site.js";
import { keyOf } from "./storage.js";
import { byId, htmx, part, room, thread } from "./thread.js";

const CHECK_RUNNING = 10_000; // ms between looks at a list that says that an answer is running

const list = byId("conversations");
const title = () => byId("room-title");

/** @type {string | null} The chat that this page shows; null: none yet. */
export let conversation = room.dataset.conversation || null;

/** @type {BroadcastChannel | undefined} To the other tabs of this browser: which chat has changed. */
let otherTabs;

// --- The chat of this page

/**
 * Take over the conversation that the server made for the first question.
 * @param {string} id
 */
export function enter(id) {
  conversation = id;
  room.dataset.conversation = id;
  moveTo(`${root}c/${id}/`);
}

/**
 * Give the page another address, also in forms that lead back to it.
 * @param {string} path
 */
function moveTo(path) {
  history.replaceState(history.state, "", path);
  /** @type {NodeListOf<HTMLInputElement>} */
  const places = document.querySelectorAll("input[name=next]");
  for (const place of places) place.value = path;
}

/** Become a new chat, because this one is gone. What was typed stays. */
export function leave() {
  conversation = null;
  room.dataset.conversation = "";
  room.dataset.newest = "0";
  moveTo(root);
  document.title = "AgenticFleet";
  title().replaceChildren();
  const { content } = /** @type {HTMLTemplateElement} */ (byId("gone-template"));
  thread.replaceChildren(content.cloneNode(true));
  refreshList();
}

/** Say in the tab's title which chat this is, and if it waits for its reader or has answered. */
export function retitle() {
  const heading = title().querySelector("h1");
  const name = conversation && heading ? `${heading.textContent} · AgenticFleet` : "AgenticFleet";
  document.title = marked(name, thread.querySelector(".ask[data-mine]") !== null);
}

whenSeen(retitle);

/** The title of the chat as the page has it; empty for one that has just begun. */
export const chatTitle = () => title().querySelector("h1")?.textContent ?? "";

// --- The list

let refreshedAt = 0;
let isRefreshing = false;
let isOutdated = false; // something has changed since the request that is under way

/** Show the list as it is now, restricted and continued as the reader left it. */
export async function refreshList() {
  isOutdated = isRefreshing;
  if (isRefreshing) return;
  isRefreshing = true;
  refreshedAt = performance.now();
  const search = searched();
  const { length } = list.querySelectorAll(".chats:not([data-apart]) > li");
  const query = new URLSearchParams({ q: search, shown: String(length) });
  if (list.querySelector("[data-only-running]")) query.set("running", "1");
  // The title and its menu come along if the page doesn't have those of its chat.
  if (conversation && title().dataset.of !== conversation) query.set("opened", conversation);
  const how = { source: "#conversations", target: "#conversations", swap: "innerHTML" };
  try {
    await htmx.ajax("GET", `${room.dataset.listUrl}?${query}`, how);
    takeFromRow();
    retitle();
    expectTitle();
  } catch {
    // If the server is unavailable, the list stays as it is until the next answer.
  }
  isRefreshing = false;
  if (isOutdated || search !== searched()) refreshList();
}

/** Show the title that the list has for this chat, and whether it is pinned. */
function takeFromRow() {
  const row = document.getElementById(`chat-${conversation}`)?.parentElement;
  const heading = title().querySelector("h1");
  if (!row || !heading || title().dataset.of !== conversation) return;
  heading.textContent = part(row, ".chat-title").textContent;
  offerPin(title(), "pinned" in part(row, ".chat-more").dataset);
}

// A model makes the title after the first answer. It comes soon, or not at all.
const TITLE_CHECKS = [1_000, 1_500, 3_000]; // ms between two looks
let titleChecks = 0;

function expectTitle() {
  const row = document.getElementById(`chat-${conversation}`);
  if (!row?.matches("[data-untitled]")) titleChecks = 0;
  else if (titleChecks < TITLE_CHECKS.length) setTimeout(refreshList, TITLE_CHECKS[titleChecks++]);
}

/**
 * Offer in a menu to pin a chat, or to unpin it.
 * @param {Element} menu
 * @param {boolean} isPinned
 */
export function offerPin(menu, isPinned) {
  part(menu, "[data-chat-action=pin]").hidden = isPinned;
  part(menu, "[data-chat-action=unpin]").hidden = !isPinned;
}

function searched() {
  return /** @type {HTMLInputElement} */ (byId("search")).value.trim();
}

/**
 * Show that a chat has changed, by default the one of this page, here and in the other tabs.
 * @param {string | null} chat
 */
export function chatChanged(chat = conversation) {
  tellOtherTabs(chat);
  return refreshList();
}

/** @param {string | null} chat that has changed */
export function tellOtherTabs(chat) {
  otherTabs?.postMessage(chat);
}

/**
 * Talk with the other tabs.
 * @param {(chat: string | null) => void} told
 */
export function joinOtherTabs(told) {
  otherTabs = new BroadcastChannel(keyOf("chats"));
  otherTabs.onmessage = ({ data }) => told(data);
}

export function leaveOtherTabs() {
  otherTabs?.close();
  otherTabs = undefined;
}

/**
 * Look again after running answers that this page does not follow. To be called every second.
 * @param {boolean} isFollowed an answer of this chat is being followed
 */
export function checkRunning(isFollowed) {
  if (document.hidden || performance.now() - refreshedAt < CHECK_RUNNING) return;
  const followed = isFollowed ? ":not([aria-current])" : "";
  if (list.querySelector(`a${followed} .live-dot`)) refreshList();
}

list.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });

// --- The drawer

const narrow = matchMedia("(width < 800px)");

/** @param {boolean} open */
export function setDrawer(open) {
  const isOpen = open && narrow.matches;
  document.body.classList.toggle("drawer-open", isOpen);
  part(document.body, ".shade").hidden = !isOpen;
  room.inert = isOpen;
  const button = byId("drawer-button");
  const sidebar = byId("sidebar");
  button.setAttribute("aria-expanded", String(isOpen));
  if (isOpen) sidebar.focus();
  else if (narrow.matches && sidebar.contains(document.activeElement)) button.focus();
}

narrow.addEventListener("change", () => setDrawer(false));
