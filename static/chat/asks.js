// What a paused answer asks: reading the cards, and sending what the reader decides. The cards keep
// what was typed until they are replaced.

import { Answer, askNext, follow, joinUnfinished, live } from "./answer.js";
import { refreshList, retitle } from "./chats.js";
import { input } from "./composer.js";
import { uuid } from "./connection.js";
import { firstWrong, valuesOf } from "./forms.js";
import { gettext, interpolate } from "./i18n.js";
import { announce, linkState, part, reload, turnOf, wordsOf } from "./thread.js";

/** @import { AskReply, Failure } from "./connection.js" */
/** @typedef {HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} Field */

const NOTE_TIME = 4_000; // ms

/** The answer that goes on when the reader's reply is accepted; its article is there already. */
class ReplyingAnswer extends Answer {
  /**
   * @param {HTMLFieldSetElement} asks
   * @param {AskReply[]} replies
   */
  constructor(asks, replies) {
    const article = /** @type {HTMLElement} */ (asks.closest("[data-answer]"));
    const continues = article.dataset.workflowId ?? "";
    super({ type: "reply", message_id: uuid(), continues, replies }, {
      turn: turnOf(article),
      article,
    });
    this.asks = asks;
  }

  /**
   * @override
   * @param {Failure} event
   */
  refused(event) {
    this.leave();
    announce("");
    const { code } = event.error;
    const message = wordsOf(event);
    if (code === "already_answered" || code === "expired") {
      look(this.asks);
      linkState(message);
      setTimeout(() => linkState(null, [], { onlyIf: message }), NOTE_TIME);
    } else {
      this.reopen(message);
    }
    askNext();
  }

  /** @override */
  waiting() {
    this.say(gettext("Waiting"));
    const why = gettext("Another answer is being written in this chat. Your reply is sent next.");
    linkState(why, ["give-up"]);
  }

  /** @override */
  takeBack() {
    this.leave();
    this.reopen("");
    askNext();
  }

  /** @param {string} fault why the reply was not accepted */
  reopen(fault) {
    this.asks.disabled = false;
    this.say("");
    showFault(this.asks, fault);
  }

  /**
   * @override
   * @param {string} words
   */
  say(words) {
    // When the run goes on, its status line shows the words, and the cards are gone.
    if (this.asks.isConnected) part(this.asks, "[data-reply-state]").textContent = words;
    else super.say(words);
  }
}

// --- What the reader presses

/** @param {HTMLElement} button */
export function pressInCard(button) {
  const { ask: action, decide: decision } = button.dataset;
  const asks = /** @type {HTMLFieldSetElement} */ (button.closest("[data-asks]"));
  if (decision) decide(asks, button);
  else if (action === "change") edit(cardOf(button), !isEditing(cardOf(button)));
  else if (action === "send") send(asks);
  else if (action === "withdraw") withdraw(asks);
  else if (action === "look") look(asks);
}

/**
 * @param {HTMLFieldSetElement} asks
 * @param {HTMLElement} button
 */
function decide(asks, button) {
  const card = cardOf(button);
  const { decide: decision = "", words = "" } = button.dataset;
  const isSentAtOnce = cardsOf(asks).length === 1 && !("needsSend" in button.dataset);
  const isUndone = !isSentAtOnce && button.getAttribute("aria-pressed") === "true";
  card.dataset.decision = isUndone ? "" : decision;
  card.dataset.words = words;
  for (const each of card.querySelectorAll("[data-decide]")) {
    const isPressed = each === button && !isSentAtOnce && !isUndone;
    each.setAttribute("aria-pressed", String(isPressed));
  }
  const refusal = /** @type {HTMLElement | null} */ (card.querySelector("[data-refusal-words]"));
  const isRefusing = card.dataset.decision === "refuse";
  if (refusal) refusal.hidden = !isRefusing;
  if (isSentAtOnce) {
    send(asks);
    return;
  }
  updateSend(asks);
  if (refusal && isRefusing) part(refusal, "textarea").focus();
}

/** @param {HTMLFieldSetElement} asks */
function updateSend(asks) {
  const cards = cardsOf(asks);
  const button = /** @type {HTMLButtonElement} */ (part(asks, "[data-ask=send]"));
  button.disabled = !cards.every((card) => card.dataset.decision);
  button.hidden = cards.length === 1 && button.disabled;
}

/** @param {HTMLFieldSetElement} asks */
function send(asks) {
  const wrong = cardsOf(asks).map((card) => isAnsweredForm(card) && firstWrong(card)).find(Boolean);
  if (wrong) {
    wrong.focus();
    return;
  }
  try {
    reply(asks, cardsOf(asks).map(replyOf));
  } catch (error) {
    if (!(error instanceof FieldError)) throw error;
    showFault(asks, error.message);
    error.field.focus();
  }
}

/** @param {HTMLFieldSetElement} asks */
function withdraw(asks) {
  const cards = /** @type {NodeListOf<HTMLElement>} */ (asks.querySelectorAll(".ask"));
  reply(asks, [...cards].map((card) => ({ ask_id: idOf(card), decision: "withdraw" })));
}

/**
 * @param {HTMLFieldSetElement} asks
 * @param {AskReply[]} replies
 */
function reply(asks, replies) {
  if (live) {
    showFault(asks, gettext("Another answer is being written here. Reply when it has ended."));
    return;
  }
  showFault(asks, "");
  // As after Stop. The button that was pressed is switched off with all others.
  input.focus({ preventScroll: true });
  asks.disabled = true;
  const answer = new ReplyingAnswer(asks, replies);
  answer.say(gettext("Sending…"));
  follow(answer);
}

/**
 * Show the answer as the server has it now.
 * @param {HTMLFieldSetElement} asks
 */
async function look(asks) {
  const hadFocus = asks.contains(document.activeElement);
  const article = await reload(asks.closest("[data-answer]"), asks.dataset.url ?? "");
  if (!article) return;
  const again = /** @type {HTMLElement | null} */ (article.querySelector("[data-ask=look]"));
  if (hadFocus) (again ?? input).focus({ preventScroll: true });
  joinUnfinished();
  retitle();
  refreshList();
}

// --- Cards and their fields

/** @param {Element} element */
const cardOf = (element) => /** @type {HTMLElement} */ (element.closest(".ask"));

/** @param {HTMLElement} card */
const idOf = (card) => card.dataset.askId ?? "";

/**
 * Return the cards that the reader decides.
 * @param {Element} asks
 */
function cardsOf(asks) {
  return [.../** @type {NodeListOf<HTMLElement>} */ (asks.querySelectorAll(".ask[data-mine]"))];
}

/** @param {HTMLElement} card */
function fieldsOf(card) {
  return [.../** @type {NodeListOf<Field>} */ (card.querySelectorAll("[data-argument]"))];
}

/**
 * @param {Element} asks
 * @param {string} fault empty: there is none
 */
function showFault(asks, fault) {
  const place = part(asks, "[data-faults]");
  place.hidden = !fault;
  place.textContent = fault;
}

/** @param {HTMLElement} card */
const isAnsweredForm = (card) => card.dataset.kind === "form" && card.dataset.decision === "answer";

/** @param {HTMLElement} card */
const isEditing = (card) => card.classList.contains("editing");

/**
 * Make the fields editable, or give all changes up.
 * @param {HTMLElement} card
 * @param {boolean} on
 */
function edit(card, on) {
  card.classList.toggle("editing", on);
  const button = part(card, "[data-ask=change]");
  button.textContent = (on ? button.dataset.on : button.dataset.off) ?? "";
  const fields = fieldsOf(card);
  for (const field of fields) {
    // Nothing but text can be read-only.
    if (field instanceof HTMLSelectElement || isSwitch(field)) field.disabled = !on;
    else field.readOnly = !on;
    if (!on) restore(field);
  }
  (on ? fields[0] : button).focus({ preventScroll: true });
}

/**
 * Give the changes of this field's card up. Return false if there is nothing to give up.
 * @param {Element} target
 */
export function giveUpChanges(target) {
  const card = /** @type {HTMLElement | null} */ (target.closest(".ask.editing"));
  if (card) edit(card, false);
  return card !== null;
}

/** @param {Field} field */
function isSwitch(field) {
  return field.type === "checkbox";
}

/** @param {Field} field */
function restore(field) {
  if (field instanceof HTMLSelectElement) {
    for (const option of field.options) option.selected = option.defaultSelected;
  } else if (field instanceof HTMLInputElement && isSwitch(field)) {
    field.checked = field.defaultChecked;
  } else {
    field.value = field.defaultValue;
  }
}

/** @param {Field} field */
function isChanged(field) {
  if (field instanceof HTMLSelectElement) {
    const [chosen] = field.selectedOptions;
    return Boolean(chosen) && !chosen.defaultSelected && chosen.value !== "";
  }
  if (field instanceof HTMLInputElement && isSwitch(field)) {
    return field.checked !== field.defaultChecked;
  }
  return field.value !== field.defaultValue;
}

/** A field whose text cannot be read. */
class FieldError extends Error {
  /**
   * @param {Field} field
   * @param {string} message
   */
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

/**
 * Return the value of a field; undefined if the argument is left out. The server checks it.
 * @param {Field} field
 * @returns {unknown}
 */
function valueOf(field) {
  if (!("set" in field.dataset) && !isChanged(field)) return undefined;
  const text = field.value.trim();
  switch (field.dataset.type) {
    case "switch":
      return /** @type {HTMLInputElement} */ (field).checked;
    case "lines":
      return text.split("\n").map((line) => line.trim()).filter(Boolean);
    case "number":
      return text === "" || Number.isNaN(Number(text)) ? text || undefined : Number(text);
    case "choice":
    case "json":
      try {
        return text === "" ? undefined : JSON.parse(text);
      } catch {
        const label = field.labels?.[0]?.textContent?.trim() ?? "";
        const words = gettext("%(field)s: this is not JSON.");
        throw new FieldError(field, interpolate(words, { field: label }));
      }
    default:
      return field.value;
  }
}

/**
 * Return what the reader decided in this card.
 * @param {HTMLElement} card
 * @returns {AskReply}
 */
function replyOf(card) {
  const decision = card.dataset.decision ?? "";
  const typed = card.querySelector("[data-reply-words]");
  const words = card.dataset.words || (typed ? /** @type {HTMLTextAreaElement} */ (typed).value : "");
  /** @type {AskReply} */
  const reply = { ask_id: idOf(card), decision };
  if (decision === "approve") {
    const fields = fieldsOf(card);
    if (fields.some(isChanged)) {
      reply.decision = "edit";
      const values = fields.map((field) => [field.dataset.argument, valueOf(field)]);
      reply.arguments = Object.fromEntries(values.filter(([, value]) => value !== undefined));
    }
    const remember = /** @type {HTMLInputElement | null} */ (card.querySelector("[data-remember]"));
    if (remember?.checked) reply.remember = true;
  } else if (isAnsweredForm(card)) {
    reply.arguments = valuesOf(card);
  } else if (words.trim()) {
    reply.text = words.trim();
  }
  return reply;
}

// An answer in the reader's own words needs some.
document.addEventListener("input", ({ target }) => {
  const words = /** @type {HTMLElement} */ (target);
  if (!words.matches(".ask[data-kind=question] [data-reply-words]")) return;
  const own = part(cardOf(words), "[data-decide=answer]:not([data-words])");
  const typed = /** @type {HTMLTextAreaElement} */ (words).value.trim();
  /** @type {HTMLButtonElement} */ (own).disabled = typed === "";
});
