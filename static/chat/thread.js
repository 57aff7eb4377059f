// What is shown: questions and answers, clocks, announcements.
//
// The server sends finished markup, and htmx puts each element where its id says. No markup is made
// here.

import { gettext, interpolate, ngettext, number } from "./i18n.js";

/**
 * @typedef {object} Htmx
 * @property {(target: Element, html: string, how: object) => void} swap
 * @property {(verb: string, path: string, how: object) => Promise<void>} ajax
 * @property {(element: Element) => void} process
 */
export const { htmx } = /** @type {{ htmx: Htmx }} */ (/** @type {unknown} */ (window));

/**
 * Return the element with this id. The template always has it, so there is no null to check.
 * @param {string} id
 */
export function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/**
 * Return the first `selector` inside `element`. The template always has it.
 * @param {Element | Document | DocumentFragment} element
 * @param {string} selector
 */
export function part(element, selector) {
  return /** @type {HTMLElement} */ (element.querySelector(selector));
}

export const room = byId("room");
export const thread = byId("thread");

/** Whose page this is, if its reader is signed in. The server does nothing for it as another one. */
export const { account = "" } = room.dataset;

// --- Questions and answers

/**
 * Add a turn with this question.
 * @param {string} text
 */
export function newTurn(text) {
  document.getElementById("empty")?.remove();
  // A page that a search has opened may lack the latest ones.
  const last = /** @type {HTMLElement | null} */ (thread.querySelector("[data-turn]:last-child"));
  const number = Number(last?.dataset.turn || 0) + 1;
  const turn = place("turn-template", thread);
  const question = part(turn, ".question");
  question.dataset.text = JSON.stringify(text);
  part(question, ".bubble").textContent = text;
  setNumber(turn, number);
  return turn;
}

/**
 * Number a turn, and name its question and its answers by it.
 * @param {HTMLElement} turn
 * @param {number} number
 */
export function setNumber(turn, number) {
  turn.dataset.turn = String(number);
  const question = interpolate(gettext("Question %(number)s"), { number });
  part(turn, ".question").setAttribute("aria-label", question);
  for (const label of turn.querySelectorAll("[data-number]")) label.textContent = answerName(turn);
}

/** @param {HTMLElement} turn */
function answerName(turn) {
  return interpolate(gettext("Answer %(number)s"), { number: turn.dataset.turn ?? "" });
}

/**
 * Show a new version of a question in its place. Return its turn, and the turns that it replaces:
 * the thread below follows the version.
 * @param {HTMLElement} turn
 * @param {string} text
 */
export function newVersion(turn, text) {
  const all = /** @type {HTMLElement[]} */ ([...thread.children]);
  const replaced = all.slice(all.indexOf(turn));
  for (const each of replaced) each.remove();
  const version = newTurn(text);
  setNumber(version, Number(turn.dataset.turn));
  const { runs } = versionsOf(turn);
  const earlier = runs.length ? runs : [runOf(turn) ?? ""];
  setVersions(version, [...earlier, ""], earlier.length);
  return { turn: version, replaced };
}

/**
 * Return a run of each version of a turn's question, and the place of the one that is shown.
 * @param {HTMLElement} turn
 * @returns {{ runs: string[], place: number }}
 */
export function versionsOf(turn) {
  const { runs = "[]", place = "0" } = part(turn, ".versions").dataset;
  return { runs: JSON.parse(runs), place: Number(place) };
}

/**
 * @param {HTMLElement} turn
 * @param {string[]} runs a run of each version; none if there is only one
 * @param {number} shown the place of the one that is shown
 */
export function setVersions(turn, runs, shown) {
  const stepper = part(turn, ".versions");
  stepper.dataset.runs = JSON.stringify(runs);
  stepper.dataset.place = String(shown);
  stepper.hidden = runs.length === 0;
  const numbers = { number: shown + 1, count: runs.length };
  const words = stepper.hidden ? "" : interpolate(gettext("%(number)s of %(count)s"), numbers);
  part(stepper, ".versions-place").textContent = words;
  const [earlier, later] = stepper.querySelectorAll("button");
  // Not `disabled`: the button that was pressed keeps the focus.
  earlier.setAttribute("aria-disabled", String(shown === 0));
  later.setAttribute("aria-disabled", String(shown >= runs.length - 1));
}

/**
 * The server has stored the question of a turn, and this run answers it.
 * @param {HTMLElement} turn
 * @param {string} run
 */
export function nameQuestion(turn, run) {
  const { runs, place } = versionsOf(turn);
  setVersions(turn, runs.map((each) => each || run), place);
  part(turn, "[data-action=edit]").hidden = false;
}

/**
 * Return the run of a turn's newest answer; undefined if the server has none.
 * @param {Element} turn
 */
export function runOf(turn) {
  const answers = /** @type {NodeListOf<HTMLElement>} */ (turn.querySelectorAll("[data-answer]"));
  return [...answers].map(({ dataset }) => dataset.workflowId).findLast(Boolean);
}

/**
 * Return the turn of the question that this run answered; null if the page doesn't show it.
 * @param {string | null | undefined} run
 */
export function turnAnsweredBy(run) {
  const article = run && thread.querySelector(`[data-workflow-id="${CSS.escape(run)}"]`);
  return article ? turnOf(article) : null;
}

/**
 * Add the place where the answer to this turn's question will be.
 * @param {HTMLElement} turn
 * @param {{ messageId: string, rerunOf: string | null }} question
 */
export function newAnswer(turn, { messageId, rerunOf }) {
  for (const open of turn.querySelectorAll(":scope > [data-answer]")) {
    foldAway(/** @type {HTMLElement} */ (open), turn);
  }
  const article = place("waiting-template", turn);
  article.setAttribute("aria-label", answerName(turn));
  article.id = `answer-${messageId}`;
  article.dataset.rerunOf = rerunOf ?? "";
  return article;
}

/**
 * Keep the old answer, folded. The place of a refusal, which has no run, is removed.
 * @param {HTMLElement} article
 * @param {HTMLElement} turn
 */
export function foldAway(article, turn) {
  if (!article.dataset.workflowId) {
    article.remove();
    return;
  }
  const earlier = turn.querySelector(".earlier") ?? place("earlier-template", turn);
  part(turn, ".question").after(earlier);
  earlier.append(article);
  const count = earlier.querySelectorAll("[data-answer]").length;
  part(earlier, "summary").textContent = ngettext("Earlier answer", "Earlier answers", count);
}

/**
 * Return the turn that this answer or this question belongs to.
 * @param {Element} element
 */
export function turnOf(element) {
  return /** @type {HTMLElement} */ (element.closest(".turn"));
}

/**
 * Return the exact text of a turn's question.
 * @param {Element} turn
 * @returns {string}
 */
export function textOf(turn) {
  return JSON.parse(part(turn, ".question").dataset.text ?? "");
}

/**
 * Add a clone of a template's element to `parent`.
 * @param {string} templateId
 * @param {Element} parent
 */
export function place(templateId, parent) {
  const template = /** @type {HTMLTemplateElement} */ (byId(templateId));
  const element = /** @type {Element} */ (template.content.firstElementChild).cloneNode(true);
  parent.append(element);
  return /** @type {HTMLElement} */ (element);
}

// --- Markup

// htmx wants a target, even for markup that is all out of band.
const sink = document.createElement("div");

/**
 * Put each element of an event's markup where its id says.
 * @param {{ type: string, html?: string }} event
 * @param {HTMLElement} article the answer whose timeline takes what has no other place
 */
export function show({ type, html }, article) {
  if (!html) return;
  const parsed = document.createElement("template");
  parsed.innerHTML = html;
  makePlaces(parsed.content, article);
  if (type === "response.snapshot") dropShownText(parsed.content);
  const put = () => swap(sink, parsed.innerHTML, "none");
  // These bring all steps anew.
  if (type === "connected" || type === "resumed") keepFolds(article, put);
  else put();
  if (/data-(tick|countdown)/.test(html)) startClocks();
}

/**
 * Leave an answer alone that has these words already: the reader may have selected some.
 * @param {DocumentFragment} fragment
 */
function dropShownText(fragment) {
  for (const body of fragment.querySelectorAll(".prose")) {
    const shown = document.getElementById(body.id);
    const hasSameText = shown?.textContent?.trim() === body.textContent?.trim();
    const size = (/** @type {Element | null} */ element) => element?.querySelectorAll("*").length;
    if (hasSameText && size(shown) === size(body)) body.remove();
  }
}

/**
 * Open the folds again that the reader had opened, and give the focus back to one that had it.
 * @param {HTMLElement} article
 * @param {() => void} change replaces elements of the article
 */
function keepFolds(article, change) {
  /** @param {Element} fold */
  const nameOf = (fold) => `${fold.closest("[id]")?.id} ${fold.className}`;
  const open = new Set([...article.querySelectorAll("details[open]")].map(nameOf));
  const focused = document.activeElement?.closest("summary")?.parentElement;
  const focusedName = focused && article.contains(focused) ? nameOf(focused) : null;
  change();
  for (const fold of article.querySelectorAll("details")) {
    if (open.has(nameOf(fold))) fold.open = true;
    if (nameOf(fold) === focusedName) part(fold, "summary").focus({ preventScroll: true });
  }
}

/**
 * Replace an answer by what the server shows at this address. Return the new one; null if the
 * server is unavailable.
 * @param {Element | null} article
 * @param {string} url
 * @returns {Promise<HTMLElement | null>}
 */
export async function reload(article, url) {
  const { id = "" } = article ?? {};
  try {
    await htmx.ajax("GET", url, { target: `#${id}`, swap: "outerHTML" });
  } catch {
    return null;
  }
  return byId(id);
}

/**
 * Say in the place of the answer why there is none.
 * @param {HTMLElement} article
 * @param {string | undefined} html
 */
export function showRefusal(article, html) {
  swap(article.querySelector("[data-refusal]") ?? part(article, ".end"), html ?? "", "innerHTML");
  article.querySelector(".steps")?.remove();
}

/**
 * Return what an error says in the page's language. Its message is English.
 * @param {{ html?: string, error: { message: string } }} event
 */
export function wordsOf({ html = "", error }) {
  const parsed = document.createElement("template");
  parsed.innerHTML = html;
  const words = parsed.content.querySelector("[data-trouble-words]")?.textContent;
  return words?.trim() || error.message;
}

/**
 * @param {Element} target
 * @param {string} html
 * @param {string} swapStyle
 */
function swap(target, html, swapStyle) {
  htmx.swap(target, html, { swapStyle, swapDelay: 0, settleDelay: 0, ignoreTitle: true });
}

/**
 * Give every new element an empty place at the end of its slot, because htmx's out-of-band swaps can
 * only replace. What has its slot in the same markup is put there instead.
 * @param {DocumentFragment} fragment
 * @param {HTMLElement} article
 * @param {DocumentFragment} whole
 */
function makePlaces(fragment, article, whole = fragment) {
  for (const element of /** @type {HTMLElement[]} */ ([...fragment.children])) {
    if (element instanceof HTMLTemplateElement) {
      makePlaces(element.content, article, whole);
    } else if (element.dataset.slot && !document.getElementById(element.id)) {
      const coming = whole.querySelector(`[id="${element.dataset.slot}"]`);
      if (coming && !coming.querySelector(`[id="${element.id}"]`)) {
        element.removeAttribute("hx-swap-oob");
        coming.append(element);
        continue;
      }
      const slot = document.getElementById(element.dataset.slot);
      const empty = document.createElement(element.localName);
      empty.id = element.id;
      (slot ?? article.querySelector(".timeline"))?.append(empty);
    }
  }
}

// --- Clocks

/** @param {number} seconds */
export function secondsWords(seconds) {
  return interpolate(gettext("%(seconds)s s"), { seconds: number(seconds) });
}

/** @type {WeakMap<Element, number>} When each clock started. */
const since = new WeakMap();

/** @param {string} selector */
function clocks(selector) {
  return /** @type {NodeListOf<HTMLElement>} */ (thread.querySelectorAll(selector));
}

/**
 * Return for how many seconds a clock has run.
 * @param {HTMLElement} clock
 */
function age(clock) {
  const now = performance.now();
  // The server says how long the step had run when it was rendered.
  const start = since.get(clock) ?? now - Number(clock.dataset.sinceMs ?? 0);
  since.set(clock, start);
  return Math.floor((now - start) / 1000);
}

/** Start the clocks that have come with new markup. A hidden page's timers may run much later. */
export function startClocks() {
  for (const clock of clocks("[data-tick], [data-countdown]")) age(clock);
}

/** Set all clocks that run on the page. To be called every second. */
export function tick() {
  for (const clock of clocks("[aria-busy=true] [data-tick]")) {
    const seconds = age(clock);
    const before = clock.classList.contains("ticks") ? " · " : "";
    if (seconds > 0) clock.textContent = `${before}${secondsWords(seconds)}`;
  }
  for (const clock of clocks("[data-countdown]")) {
    const left = Number(clock.dataset.countdown) - age(clock);
    const wait = interpolate(gettext("in %(period)s"), { period: secondsWords(left) });
    clock.textContent = left > 0 ? wait : gettext("now");
  }
}

// --- Requests

/** Return the headers that htmx sends, for requests without it. */
export function headers() {
  const common = part(document, "[hx-headers]").getAttribute("hx-headers") ?? "{}";
  return { "HX-Request": "true", ...JSON.parse(common) };
}

// --- Above the composer

/**
 * Have a screen reader say this.
 * @param {string} words
 */
export function announce(words) {
  byId("announce").textContent = words;
}

/**
 * Show how the connection is, with buttons for these actions; null hides the line.
 * @param {string | null} words
 * @param {string[]} actions
 * @param {{ urgent?: boolean, onlyIf?: string | null }} how `onlyIf`: only if this is shown now
 */
export function linkState(words, actions = [], { urgent = false, onlyIf = null } = {}) {
  const bar = byId("link-state");
  const place = part(bar, "[data-words]");
  if (onlyIf !== null && place.textContent !== onlyIf) return;
  if (urgent) bar.setAttribute("role", "alert");
  else bar.removeAttribute("role");
  bar.hidden = words === null;
  if (place.textContent !== words) place.textContent = words ?? "";
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  const hadFocus = bar.contains(focused);
  for (const button of bar.querySelectorAll("button")) {
    button.hidden = !actions.includes(button.dataset.action ?? "");
  }
  // The button that was pressed is gone, and the focus would go with it.
  if (hadFocus && focused?.hidden) byId("composer-text").focus({ preventScroll: true });
}
