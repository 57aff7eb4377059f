// What is chosen for the next question: who answers, with which model, how much it thinks, whether it
// searches anew, and what the mode auto prefers. The first three are kept in this browser. The last
// belongs to the person: the server keeps it, and the account menu offers it, too.

import { isComposing, isText } from "./keys.js";
import { inBrowser } from "./storage.js";
import { byId, part } from "./thread.js";

const menu = /** @type {HTMLDetailsElement} */ (byId("how"));
/** @type {HTMLInputElement | null} Only in a long list of models. */
const search = menu.querySelector("input");
/** @type {HTMLElement | null} Only if agents can search the web. */
const fresh = document.getElementById("fresh");
const PREFERENCE = "preference";
/** @type {HTMLElement | null} Only if it makes a difference. */
const preferences = menu.querySelector(`[data-choice="${PREFERENCE}"]`);

/** A group of options, of which one is chosen. */
class Choice {
  /** @param {string} name */
  constructor(name) {
    this.name = name;
    const found = document.querySelectorAll(`[data-choice="${name}"] button`);
    const all = /** @type {HTMLButtonElement[]} */ ([...found]);
    this.options = all.filter((option) => menu.contains(option));
    this.elsewhere = all.filter((option) => !menu.contains(option));
    this.isOfBrowser = name !== PREFERENCE;
    if (this.isOfBrowser) this.choose(inBrowser.get(name));
  }

  get chosen() {
    const pressed = this.options.find(isPressed);
    return /** @type {HTMLButtonElement} */ (pressed);
  }

  /**
   * Choose an option; one that is not offered (any more) changes nothing.
   * @param {string | null} value
   */
  choose(value) {
    const found = this.options.find((option) => option.dataset.value === value);
    if (!found || value === null) return;
    for (const option of [...this.options, ...this.elsewhere]) {
      press(option, option.dataset.value === value);
    }
    if (this.isOfBrowser) inBrowser.set(this.name, value);
  }

  /** @param {HTMLElement} button */
  has(button) {
    return [...this.options, ...this.elsewhere].some((option) => option === button);
  }
}

/** @type {Record<string, Choice | undefined>} Those that this page offers. */
const choices = {};
for (const group of /** @type {NodeListOf<HTMLElement>} */ (menu.querySelectorAll("[data-choice]"))) {
  const { choice: name = "" } = group.dataset;
  choices[name] = new Choice(name);
}
/** @type {() => void} */
let tellChosen = () => {};

/**
 * Call this when something else is chosen.
 * @param {() => void} chosen
 */
export function onChosen(chosen) {
  tellChosen = chosen;
}

// --- What is chosen

/** @returns {string} the mode for the next question */
export const chosenMode = () => choices.mode?.chosen.dataset.value || "auto";

/** @returns {string | null} the model for the next question; null: each path has its own */
export const chosenModel = () => choices.model?.chosen.dataset.value || null;

/** @returns {string | null} how much the model thinks; null: as much as it does by itself */
export const chosenEffort = () => choices.effort?.chosen.dataset.value || null;

/** @returns {string | null} where auto draws the line; null: where the person has set it */
export const chosenPreference = () => choices[PREFERENCE]?.chosen.dataset.value || null;

/** Return true if the next question searches anew: this one, and no question after it. */
export function takeFresh() {
  const isFresh = fresh !== null && isPressed(fresh);
  if (fresh && isFresh) {
    press(fresh, false);
    showChosen();
  }
  return isFresh;
}

/** Name on the menu's button all that is not as it always is. */
function showChosen() {
  // Who has chosen a path prefers nothing.
  if (preferences) preferences.hidden = chosenMode() !== "auto";
  const names = shown(Object.values(choices).map((choice) => /** @type {Choice} */ (choice).chosen))
    .filter((option, at) => at === 0 || !("default" in option.dataset))
    .map((option) => option.dataset.name);
  if (fresh && isPressed(fresh)) names.push(fresh.dataset.name);
  part(menu, "[data-chosen]").textContent = names.join(" · ");
}

/**
 * Choose the option that is pressed. Return true if the button is in the menu.
 * @param {HTMLElement} button
 */
export function pressInMenu(button) {
  const choice = Object.values(choices).find((each) => each?.has(button));
  if (button === fresh) press(fresh, !isPressed(fresh));
  choice?.choose(button.dataset.value ?? null);
  showChosen();
  if (choice) tellChosen();
  return menu.contains(button);
}

/** @param {HTMLElement} button */
function isPressed(button) {
  return button.getAttribute("aria-pressed") === "true";
}

/**
 * @param {HTMLElement} button
 * @param {boolean} pressed
 */
function press(button, pressed) {
  button.setAttribute("aria-pressed", String(pressed));
}

// --- Keys

menu.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    move(event.key === "ArrowDown" ? 1 : -1);
  } else if (event.target === search) {
    if (event.key !== "Enter" || isComposing(event)) return;
    // It would send the question.
    event.preventDefault();
    if (search?.value.trim()) shown(choices.model?.options ?? [])[0]?.click();
  } else if (search && menu.open && isText(event) && event.key !== " ") {
    // What is typed goes into the field, also a "/", which elsewhere leads to the composer.
    search.focus();
    event.stopPropagation();
  }
});

/** @param {1 | -1} step */
function move(step) {
  menu.open = true;
  const options = shown([...menu.querySelectorAll("button")]);
  const at = options.findIndex((option) => option === document.activeElement);
  const first = Math.max(0, options.findIndex(isPressed));
  const next = at < 0 ? first : at + step;
  options[(next + options.length) % options.length]?.focus();
}

/** @param {HTMLButtonElement[]} options */
function shown(options) {
  return options.filter((option) => !option.closest("[hidden]"));
}

// --- The search for a model

menu.addEventListener("toggle", () => {
  // What was searched for goes when the menu closes: this event may come after the first letter that
  // is typed into an open one.
  if (menu.open) {
    choices.model?.chosen.scrollIntoView({ block: "nearest" });
  } else if (search?.value) {
    search.value = "";
    filter();
  }
});
search?.addEventListener("input", filter);

function filter() {
  const words = (search?.value ?? "").toLowerCase().split(/\s+/);
  const options = choices.model?.options ?? [];
  for (const option of options) {
    const text = `${option.dataset.name} ${option.dataset.value}`.toLowerCase();
    option.hidden = !words.every((word) => text.includes(word));
  }
  part(menu, "[data-none]").hidden = shown(options).length > 0;
}

showChosen();
