// Copying a new token, with and without https.

import { gettext } from "./i18n.js";

for (const button of document.querySelectorAll("[data-copy-token]")) {
  const field = /** @type {HTMLInputElement} */ (button.parentElement?.querySelector("input"));
  field.addEventListener("focus", () => field.select());
  button.addEventListener("click", async () => {
    button.textContent = (await isCopied(field)) ? gettext("Copied") : gettext("Not copied");
  });
}

/** @param {HTMLInputElement} field */
async function isCopied(field) {
  field.select();
  // Without https there is no clipboard object.
  if (!navigator.clipboard) return document.execCommand("copy");
  return navigator.clipboard.writeText(field.value).then(
    () => true,
    () => false,
  );
}
