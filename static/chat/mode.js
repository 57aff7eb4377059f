// Who answers: chosen once, and kept in this browser.

import { byId, part } from "./thread.js";

const modeMenu = /** @type {HTMLDetailsElement} */ (byId("mode"));
const modes = [...modeMenu.querySelectorAll("button")];

/** @returns {string} the mode for the next question */
export function chosenMode() {
  const chosen = modes.find((button) => button.getAttribute("aria-pressed") === "true");
  return chosen?.dataset.modeChoice ?? "auto";
}

/** @param {string | null} mode */
export function chooseMode(mode) {
  const chosen = modes.find((button) => button.dataset.modeChoice === mode);
  if (!chosen || !mode) return;
  for (const button of modes) button.setAttribute("aria-pressed", String(button === chosen));
  part(modeMenu, "[data-mode-name]").textContent = chosen.dataset.name ?? "";
  try {
    localStorage.setItem("fleet:mode", mode);
  } catch {
    // Storage is switched off. The choice still holds for this page.
  }
}

function rememberedMode() {
  try {
    return localStorage.getItem("fleet:mode");
  } catch {
    return null;
  }
}

modeMenu.addEventListener("keydown", (event) => {
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  event.preventDefault();
  modeMenu.open = true;
  const at = modes.findIndex((button) => button === document.activeElement);
  const chosen = modes.findIndex((button) => button.dataset.modeChoice === chosenMode());
  const next = at < 0 ? chosen : at + (event.key === "ArrowDown" ? 1 : -1);
  modes[(next + modes.length) % modes.length].focus();
});

chooseMode(rememberedMode());
