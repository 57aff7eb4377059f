// Copying selected text: formulas and code as they were written, without buttons.

const PARAGRAPHS = "p, h1, h2, h3, h4, h5, h6, pre, blockquote, table, ul, ol, .block, .code, article";
const LINES = "div, li, tr, summary, details, section";
const CELLS = "td + td, td + th, th + td, th + th";

document.addEventListener("copy", (event) => {
  const selection = getSelection();
  const target = /** @type {Element} */ (event.target);
  if (!selection?.rangeCount || target.closest?.("input, textarea")) return;
  const range = wholeFormulas(selection.getRangeAt(0).cloneRange());
  const place = elementAt(range.commonAncestorContainer);
  const fragment = document.createElement("div");
  fragment.append(range.cloneContents());
  const isCode = place.closest("pre") !== null;
  // What has neither code nor formulas, the browser copies itself.
  if (range.collapsed || !(isCode || fragment.querySelector("math, pre"))) return;
  for (const head of fragment.querySelectorAll(".code-head, button")) head.remove();
  event.clipboardData?.setData("text/plain", isCode ? range.toString() : new Lines(fragment).text);
  event.clipboardData?.setData("text/html", fragment.innerHTML);
  event.preventDefault();
});

/** @param {Node} node */
const elementAt = (node) => /** @type {Element} */ (node instanceof Element ? node : node.parentNode);

/**
 * Let the range begin before and end after formulas that it cuts.
 * @param {Range} range
 */
function wholeFormulas(range) {
  const [first, last] = [range.startContainer, range.endContainer].map(
    (node) => elementAt(node).closest("math"),
  );
  if (first) range.setStartBefore(first);
  if (last) range.setEndAfter(last);
  return range;
}

/** @param {Element} math */
function sourceOf(math) {
  const source = math.querySelector("annotation")?.textContent ?? "";
  if (math.getAttribute("display") !== "block") return `\\(${source}\\)`;
  // Some environments are displayed without delimiters.
  return /^\s*\\begin\{(align|alignat|equation|gather|multline|flalign|eqnarray)\*?\}/.test(source)
    ? source
    : `\\[${source}\\]`;
}

/** The text of elements, line by line. */
class Lines {
  text = "";
  #breaks = 0; // before the next text

  /** @param {Element} element */
  constructor(element) {
    this.#addAll(element);
  }

  /** @param {Node} node */
  #add(node) {
    if (node instanceof Text) this.#write(node.data.replace(/[ \t\n]+/g, " "));
    if (!(node instanceof Element)) return;
    if (node.matches("math")) this.#addMaths(node);
    else if (node.matches("pre")) this.#addCode(node.textContent ?? "");
    else if (node.matches("br")) this.text += "\n";
    else if (node.matches(PARAGRAPHS)) this.#addApart(node, node.closest("li") ? 1 : 2);
    else if (node.matches(LINES)) this.#addApart(node, 1);
    else this.#addAll(node);
  }

  /** @param {Element} element */
  #addAll(element) {
    if (element.matches(CELLS)) this.text += "\t";
    for (const child of element.childNodes) this.#add(child);
  }

  /**
   * @param {Element} element
   * @param {number} breaks
   */
  #addApart(element, breaks) {
    this.#break(breaks);
    this.#addAll(element);
    this.#break(breaks);
  }

  /** @param {Element} math */
  #addMaths(math) {
    const isDisplayed = math.getAttribute("display") === "block";
    if (isDisplayed) this.#break(1);
    this.#write(sourceOf(math));
    if (isDisplayed) this.#break(1);
  }

  /** @param {string} code */
  #addCode(code) {
    this.#break(2);
    this.#writeExactly(code.replace(/\n$/, ""));
    this.#break(2);
  }

  /** @param {number} breaks */
  #break(breaks) {
    if (this.text) this.#breaks = Math.max(this.#breaks, breaks);
  }

  /** @param {string} words */
  #write(words) {
    const isAtStart = this.#breaks || !this.text || /\s$/.test(this.text);
    const text = isAtStart ? words.trimStart() : words;
    if (text) this.#writeExactly(text);
  }

  /** @param {string} text */
  #writeExactly(text) {
    if (this.#breaks) this.text = this.text.trimEnd() + "\n".repeat(this.#breaks);
    this.#breaks = 0;
    this.text += text;
  }
}
