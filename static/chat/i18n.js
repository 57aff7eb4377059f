// The words of the page's script in the page's language. A msgid is the English text; xgettext finds
// it in these calls, so it must be a literal. Without a catalogue the texts stay English.

/** @typedef {{ gettext: (text: string) => string, ngettext: (one: string, many: string, count: number) => string }} Catalogue */

/** What `javascript_catalogue` of chat/languages.py defines. */
const { django: catalogue } = /** @type {{ django?: Catalogue }} */ (globalThis);

/** @param {string} text */
export const gettext = (text) => catalogue?.gettext(text) ?? text;

/**
 * @param {string} one
 * @param {string} many
 * @param {number} count
 */
export const ngettext = (one, many, count) =>
  catalogue?.ngettext(one, many, count) ?? (count === 1 ? one : many);

// Western digits in every language, as on the server.
const numbers = new Intl.NumberFormat(`${document.documentElement.lang}-u-nu-latn`);

/** @param {number} value */
export const number = (value) => numbers.format(value);

/**
 * Fill places such as %(name)s.
 *
 * @param {string} text
 * @param {Record<string, string | number>} values
 */
export const interpolate = (text, values) =>
  text.replace(/%\((\w+)\)s/g, (_, name) => String(values[name]));
