// What keys mean, whatever the layout of the keyboard.

// The beginning of a letter, or of a sign on one, that no Latin script has.
const OTHER_SCRIPT = /^(?!\p{Script=Latin})[\p{L}\p{M}]/u;

/**
 * Return true if this key belongs to the composition of a character, which Enter only ends. Safari
 * sends that Enter after the composition: only the key code tells.
 * @param {KeyboardEvent} event
 */
export function isComposing(event) {
  return event.isComposing || event.keyCode === 229;
}

/**
 * Return true if this key types a character.
 * @param {KeyboardEvent} event
 */
export function isText(event) {
  const { key, ctrlKey, metaKey, altKey } = event;
  // AltGr types characters, too. Windows reports it as Ctrl and Alt.
  const isShortcut = (ctrlKey || metaKey || altKey) && !event.getModifierState("AltGraph");
  return [...key].length === 1 && !isShortcut;
}

/**
 * Return true if this is Ctrl or Cmd with a letter. A layout without Latin letters has the letter
 * where an English keyboard has it; any other has it where it types it.
 * @param {KeyboardEvent} event
 * @param {string} letter in lower case
 */
export function isShortcut(event, letter) {
  const { key, code, ctrlKey, metaKey, shiftKey, altKey } = event;
  if (!(ctrlKey || metaKey) || shiftKey || altKey || event.getModifierState("AltGraph")) return false;
  if (OTHER_SCRIPT.test(key)) return code === `Key${letter.toUpperCase()}`;
  return key.toLowerCase() === letter;
}

/**
 * Return true if this key types a slash, or is the slash of an English keyboard on a layout without
 * Latin letters: there it types a letter or, in Cyrillic and Hebrew, a full stop.
 * @param {KeyboardEvent} event
 */
export function isSlash(event) {
  const { key, code, shiftKey } = event;
  if (!isText(event)) return false;
  return key === "/" || (code === "Slash" && !shiftKey && (key === "." || OTHER_SCRIPT.test(key)));
}
