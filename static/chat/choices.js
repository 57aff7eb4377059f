// What is chosen for the next question: who answers, and with which model. Kept in this browser.

import { isComposing, isText } from "./keys.js";
import { inBrowser } from "./storage.js";
import { byId, part } from "./thread.js";

/** A menu of which one option is chosen. A long one can be searched. */
class Choice {
  /** @param {"mode" | "model"} name */
  constructor(name) {
    this.menu = /** @type {HTMLDetailsElement} */ (byId(name));
    this.name = name;
    this.attribute = `data-${name}-choice`;
    this.options = [...this.menu.querySelectorAll("button")];
    /** @type {HTMLInputElement | null} */
    this.search = this.menu.querySelector("input");
    this.menu.addEventListener("keydown", (event) => this.pressed(event));
    this.menu.addEventListener("toggle", () => this.toggled());
    this.search?.addEventListener("input", () => this.filter());
    this.choose(inBrowser.get(name));
  }

  get chosen() {
    return this.options.find((option) => option.getAttribute("aria-pressed") === "true");
  }

  get value() {
    return this.chosen?.getAttribute(this.attribute) ?? "";
  }

  /**
   * Choose an option; one that is not offered (any more) changes nothing.
   * @param {string | null} value
   */
  choose(value) {
    const found = this.options.find((option) => option.getAttribute(this.attribute) === value);
    if (!found || value === null) return;
    for (const option of this.options) option.setAttribute("aria-pressed", String(option === found));
    part(this.menu, "[data-choice-name]").textContent = found.dataset.name ?? "";
    inBrowser.set(this.name, value);
  }

  // --- Keys

  /** @param {KeyboardEvent} event */
  pressed(event) {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      this.move(event.key === "ArrowDown" ? 1 : -1);
    } else if (event.target === this.search) {
      if (event.key !== "Enter" || isComposing(event)) return;
      // It would send the question.
      event.preventDefault();
      if (this.search?.value.trim()) this.shown[0]?.click();
    } else if (this.search && this.menu.open && isText(event) && event.key !== " ") {
      // What is typed goes into the field, also a "/", which elsewhere leads to the composer.
      this.search.focus();
      event.stopPropagation();
    }
  }

  /** @param {1 | -1} step */
  move(step) {
    this.menu.open = true;
    const { shown } = this;
    const at = shown.findIndex((option) => option === document.activeElement);
    const first = this.chosen && shown.includes(this.chosen) ? shown.indexOf(this.chosen) : 0;
    const next = at < 0 ? first : at + step;
    shown[(next + shown.length) % shown.length]?.focus();
  }

  // --- The search

  /** The options that fit what is typed. */
  get shown() {
    return this.options.filter((option) => !option.hidden);
  }

  toggled() {
    if (!this.menu.open) return;
    if (this.search?.value) {
      this.search.value = "";
      this.filter();
    }
    this.chosen?.scrollIntoView({ block: "nearest" });
  }

  filter() {
    const words = (this.search?.value ?? "").toLowerCase().split(/\s+/);
    for (const option of this.options) {
      const text = `${option.dataset.name} ${option.getAttribute(this.attribute)}`.toLowerCase();
      option.hidden = !words.every((word) => text.includes(word));
    }
    part(this.menu, "[data-none]").hidden = this.shown.length > 0;
  }
}

const mode = new Choice("mode");
// Only if there is more than one to choose from.
const model = document.getElementById("model") ? new Choice("model") : null;

/** @returns {string} the mode for the next question */
export const chosenMode = () => mode.value;

/** @returns {string | null} the model for the next question; null: each path has its own */
export const chosenModel = () => model?.value || null;

/**
 * Choose the option that is pressed. Return true if the button is one.
 * @param {HTMLElement} button
 */
export function pressInMenu(button) {
  const choice = [mode, model].find((each) => each?.menu.contains(button));
  choice?.choose(button.getAttribute(choice.attribute));
  return choice !== undefined;
}
