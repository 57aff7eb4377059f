// What can be done with a chat, this page's or another one of the list: pin, rename, delete.

import { interpolate } from "./i18n.js";
import { chatChanged, conversation, offerPin, tellOtherTabs } from "./chats.js";
import { root } from "./site.js";
import { byId, htmx, part } from "./thread.js";

const menu = byId("chat-menu");
const GAP = 4; // px between a row's button and its menu

/** The chat that the menu of the list or an open dialog is about. */
let chat = "";

/** @param {string} id */
const buttonOf = (id) => document.getElementById(`more-${id}`);

/** @param {string} id */
function titleOf(id) {
  const row = document.getElementById(`chat-${id}`);
  const heading = part(document.body, "#room-title h1");
  return (row ? part(row, ".chat-title") : heading).textContent ?? "";
}

/**
 * Do what a button of a chat says, if it is one.
 * @param {HTMLElement} button
 */
export function pressChatMenu(button) {
  if (button.matches(".chat-more")) openMenu(button);
  const { chatAction } = button.dataset;
  if (!chatAction) return;
  const of = /** @type {HTMLElement | null} */ (button.closest("[data-chat]"));
  if (of) chat = of.dataset.chat ?? "";
  // Before a dialog opens: it gives the focus back to what had it.
  menu.hidePopover();
  if (chatAction === "rename" || chatAction === "delete") openDialog(chatAction);
  else pin(chatAction === "pin");
}

// --- The menu of a row

/** @param {HTMLElement} button */
function openMenu(button) {
  chat = button.dataset.chat ?? "";
  offerPin(menu, "pinned" in button.dataset);
  menu.showPopover();
  const place = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  const isBelow = place.bottom + GAP + height <= innerHeight;
  const isRtl = getComputedStyle(button).direction === "rtl";
  const left = isRtl ? place.left : place.right - width;
  menu.style.top = `${isBelow ? place.bottom + GAP : Math.max(0, place.top - GAP - height)}px`;
  menu.style.left = `${Math.max(0, Math.min(left, innerWidth - width))}px`;
  part(menu, "button:not([hidden])").focus();
}

menu.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const found = menu.querySelectorAll("button:not([hidden])");
  const buttons = /** @type {HTMLElement[]} */ ([...found]);
  const at = buttons.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  buttons.at((at + step) % buttons.length)?.focus();
});

// A menu that the keyboard leaves, or whose row scrolls away, is closed.
menu.addEventListener("focusout", ({ relatedTarget }) => {
  const next = /** @type {Element | null} */ (relatedTarget);
  if (next && !menu.contains(next)) menu.hidePopover();
});
byId("conversations").addEventListener("scroll", () => menu.hidePopover(), { passive: true });

// --- Changes

/** @param {boolean} isPinned */
async function pin(isPinned) {
  const of = chat;
  const values = { pinned: isPinned ? "1" : "0" };
  const how = { source: menu, values, swap: "none" };
  await htmx.ajax("POST", `${root}c/${of}/pin/`, how).catch(() => {});
  await chatChanged(of);
  // Its row stands elsewhere now.
  if (document.activeElement === document.body) buttonOf(of)?.focus();
}

/** @param {"rename" | "delete"} which */
function openDialog(which) {
  const dialog = /** @type {HTMLDialogElement} */ (byId(which));
  const field = dialog.querySelector("input");
  const sentence = /** @type {HTMLElement | null} */ (dialog.querySelector("[data-sentence]"));
  if (field) field.value = titleOf(chat);
  if (sentence) {
    const words = sentence.dataset.sentence ?? "";
    sentence.textContent = interpolate(words, { title: titleOf(chat) });
  }
  part(dialog, "[data-dialog-fault]").replaceChildren();
  dialog.showModal();
  field?.select();
}

document.addEventListener("submit", async (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  const { chatForm } = form.dataset;
  if (!chatForm) return;
  event.preventDefault();
  const of = chat;
  const fault = part(form, "[data-dialog-fault]");
  fault.replaceChildren();
  const how = { source: form, target: `#${fault.id}`, swap: "innerHTML" };
  // The server answers with nothing, or with the reason why it refuses.
  await htmx.ajax("POST", `${root}c/${of}/${chatForm}/`, how).catch(() => {});
  if (fault.textContent) return;
  const isGone = chatForm === "delete";
  const next = nextTo(of);
  // The page of a chat that was deleted is being left.
  if (isGone && of === conversation) {
    tellOtherTabs(of);
    return;
  }
  /** @type {HTMLDialogElement} */ (form.closest("dialog")).close();
  await chatChanged(of);
  if (isGone) (document.getElementById(next) ?? byId("search")).focus();
});

/**
 * Return the id of the link that takes the focus when a row is gone.
 * @param {string} id
 */
function nextTo(id) {
  const row = document.getElementById(`chat-${id}`)?.closest("li");
  const next = row?.nextElementSibling ?? row?.previousElementSibling;
  return next?.querySelector("a")?.id ?? "";
}
