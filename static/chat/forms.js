// The form of a tool in the card of an ask: its values, and what is wrong with them.

import { gettext, interpolate, number } from "./i18n.js";

/** @typedef {HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} Control */

/**
 * Return what is filled in, by the names of the fields. Fields that are left empty are left out.
 * @param {HTMLElement} card
 */
export function valuesOf(card) {
  /** @type {[string, unknown][]} */
  const values = fieldsOf(card).map((field) => [field.dataset.field ?? "", valueOf(field)]);
  return Object.fromEntries(values.filter(([, value]) => value !== undefined));
}

/**
 * Say beside each field what is wrong with it. Return the first control to correct, if any.
 * @param {HTMLElement} card
 */
export function firstWrong(card) {
  return fieldsOf(card).map(check).find(Boolean);
}

/** @param {HTMLElement} card */
function fieldsOf(card) {
  return [.../** @type {NodeListOf<HTMLElement>} */ (card.querySelectorAll("[data-field]"))];
}

/** @param {HTMLElement} field */
function controlsOf(field) {
  return [.../** @type {NodeListOf<Control>} */ (field.querySelectorAll("[data-value]"))];
}

/**
 * @param {HTMLElement} field
 * @returns {unknown}
 */
function valueOf(field) {
  const [control] = controlsOf(field);
  switch (field.dataset.kind) {
    case "switch":
      return /** @type {HTMLInputElement} */ (control).checked;
    case "several": {
      const chosen = chosenOf(field).map((box) => box.value);
      return chosen.length || "required" in field.dataset ? chosen : undefined;
    }
    case "number":
      return control.value === "" ? undefined : Number(control.value);
    case "choice":
      return /** @type {HTMLSelectElement} */ (control).selectedOptions[0]?.dataset.option;
  }
  if (control.value === "") return undefined;
  // What the person means is the time where they are.
  if (control.type === "datetime-local") return new Date(control.value).toISOString();
  return control.value;
}

/** @param {HTMLElement} field */
function chosenOf(field) {
  const boxes = /** @type {HTMLInputElement[]} */ (controlsOf(field));
  return boxes.filter((box) => box.checked);
}

/**
 * Say beside a field what is wrong with it. Return its control then.
 * @param {HTMLElement} field
 */
function check(field) {
  const [control] = controlsOf(field);
  const fault = field.dataset.kind === "several" ? faultOfSeveral(field) : control.validationMessage;
  const place = /** @type {HTMLElement} */ (field.querySelector("[data-fault]"));
  place.hidden = !fault;
  place.textContent = fault;
  for (const each of controlsOf(field)) each.setAttribute("aria-invalid", String(Boolean(fault)));
  return fault ? control : undefined;
}

/** @param {HTMLElement} field */
function faultOfSeveral(field) {
  const { min = "", max = "" } = field.dataset;
  const count = chosenOf(field).length;
  if (count < Number(min) && (count > 0 || "required" in field.dataset)) {
    return interpolate(gettext("Choose at least %(count)s."), { count: number(Number(min)) });
  }
  if (max && count > Number(max)) {
    return interpolate(gettext("Choose at most %(count)s."), { count: number(Number(max)) });
  }
  return "";
}

// What was wrong is checked again while it is corrected.
document.addEventListener("input", ({ target }) => {
  const control = /** @type {HTMLElement} */ (target);
  if (control.getAttribute("aria-invalid") !== "true") return;
  const field = /** @type {HTMLElement | null} */ (control.closest("[data-field]"));
  if (field) check(field);
});
