// The driver of the page: one WebSocket per message, its cursor, its watchdog, and what the reader can do.
// The server sends events with finished markup; htmx puts each element where its id says. No markup is made here.

import ReconnectingWebSocket from "../vendor/reconnecting-websocket/reconnecting-websocket.mjs";

const SUBPROTOCOL = "fleet.html.v1";
const SILENCE = 12_000; // ms without any frame: the connection is taken for lost; without an event: the model is quiet
const MOST_RETRIES = 40;
const BUSY_RETRY = 3_000; // ms between tries while another window's answer is running in this conversation
const RESTART_RETRY = 1_000; // milliseconds
const AT_END = 48; // px from the end that still count as being there
const OPTIONS = {
  minReconnectionDelay: 250 + Math.random() * 500,
  reconnectionDelayGrowFactor: 1.5,
  maxReconnectionDelay: 3_000,
  maxRetries: MOST_RETRIES,
  connectionTimeout: 4_000,
  maxEnqueuedMessages: 0, // the request is sent on every open, with the cursor of that moment
};

const byId = (id) => document.getElementById(id);
const room = byId("room");
const thread = byId("thread");
const scroller = byId("scroll");
const composer = byId("composer");
const input = byId("composer-text");

let conversation = room.dataset.conversation || null;
let live = null; // the answer that is being followed; at most one
const waiting = []; // questions to be asked next

// --- One answer being followed ------------------------------------------------------------------------------------------

class Following {
  constructor({ text, article, turn, messageId = uuid(), rerunOf = null, mode = "auto", fresh = false }) {
    Object.assign(this, { text, article, turn, messageId, rerunOf, mode, fresh });
    this.conversation = conversation;
    this.cursor = 0;
    this.failures = 0;
    this.stopping = false;
    this.askAgainAfterwards = false;
    this.isOver = false;
    this.isLost = false;
    this.quietSince = null;
  }

  open() {
    this.disconnect();
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new ReconnectingWebSocket(`${scheme}//${location.host}/ws/chat/`, [SUBPROTOCOL], OPTIONS);
    // A socket that was replaced may still have something to say; nobody listens.
    const listen = (type, handle) => socket.addEventListener(type, (event) => socket === this.socket && handle(event));
    this.socket = socket;
    listen("open", () => {
      this.heardAt = performance.now();
      socket.send(JSON.stringify(this.request()));
      if (this.stopping) this.sendCancel();
    });
    listen("message", ({ data }) => this.receive(JSON.parse(data)));
    listen("close", () => this.failed());
  }

  request() {
    return {
      message: this.text,
      message_id: this.messageId,
      conversation_id: this.conversation,
      mode: this.mode,
      fresh: this.fresh,
      rerun_of: this.rerunOf,
      after: this.cursor,
    };
  }

  disconnect() {
    const { socket } = this;
    this.socket = null;
    clearTimeout(this.suspicion);
    this.suspicion = null;
    socket?.close();
  }

  receive(event) {
    this.heardAt = performance.now();
    this.heard();
    if (event.type === "error" && (!event.workflow_id || event.error.code === "storage_unavailable")) return this.refused(event);
    if (event.type === "heartbeat") return this.quiet(event.data.silent_ms);
    if (event.type === "notice") return show(event.html);
    const isTerminal = event.type === "done" || event.type === "error";
    if (event.seq <= this.cursor && !isTerminal && event.type !== "response.snapshot") return undefined;
    this.cursor = Math.max(this.cursor, event.seq);
    this.failures = 0;
    this.quiet(0);
    if (event.type === "connected") this.connected(event);
    else show(event.html);
    if (isTerminal) this.ended(event);
    else if (this.stopping) this.say("Stopping…");
    return undefined;
  }

  connected(event) {
    if (this.isWaiting) linkState(null);
    this.isWaiting = false;
    const known = byId(`run-${event.workflow_id}`);
    if (!known) {
      const number = this.turn.dataset.turn;
      show(event.html);
      const label = byId(`run-${event.workflow_id}`)?.querySelector("[data-number]");
      if (label && number) label.textContent = `Answer ${number}`;
    }
    this.article = byId(`run-${event.workflow_id}`);
    this.workflowId = event.workflow_id;
    opened(event.data.conversation_id);
  }

  ended(event) {
    const { article } = this;
    this.close();
    article?.setAttribute("aria-busy", "false");
    article?.removeAttribute("data-live");
    const alert = article?.querySelector(".end [role=alert]");
    if (event.type === "error") announce(alert ? "" : event.error.message);
    else announce(event.data.status === "cancelled" ? "Stopped" : "Answer complete");
    refreshList();
    if (this.askAgainAfterwards) askAgain(article);
    else askNext();
  }

  // A refusal: nothing was started, or this socket cannot be served. The place of the answer says why.
  refused(event) {
    const { code, message } = event.error;
    if (code === "conversation_busy") return this.waitForTurn();
    if (code === "shutting_down") return this.askAnotherWorker();
    if (code === "storage_unavailable" && this.workflowId) {
      this.disconnect();
      linkState(message, ["retry"]);
      return undefined;
    }
    this.close();
    this.article.setAttribute("aria-busy", "false");
    this.article.removeAttribute("data-live");
    const place = this.article.querySelector("[data-refusal]") ?? this.article.querySelector(".end");
    swap(place, event.html, "innerHTML");
    this.article.querySelector(".steps")?.remove();
    announce("");
    follow();
    askNext();
    return undefined;
  }

  // A worker that is about to end takes nothing new; others do, and so does the next one.
  askAnotherWorker() {
    this.disconnect();
    this.isLost = true;
    linkState("The server is restarting. Trying again…", ["retry"]);
    this.retry = setTimeout(() => this.open(), RESTART_RETRY);
  }

  waitForTurn() {
    this.disconnect();
    this.isWaiting = true;
    this.say("Waiting");
    linkState("Another answer is being written in this chat. This question is asked next.", ["give-up"]);
    this.retry = setTimeout(() => this.open(), BUSY_RETRY);
    composerState();
  }

  close() {
    this.isOver = true;
    clearTimeout(this.retry);
    this.disconnect();
    linkState(null);
    if (live === this) live = null;
    composerState();
  }

  // --- The connection

  failed() {
    this.failures += 1;
    if (this.failures > MOST_RETRIES) return this.giveUp();
    this.suspicion ??= setTimeout(() => this.lost(), 400);
    return undefined;
  }

  lost() {
    this.suspicion = null;
    if (this.isOver) return;
    this.isLost = true;
    linkState("Connection lost. Reconnecting…", ["retry"]);
  }

  giveUp() {
    this.disconnect();
    this.isLost = true;
    linkState("The server cannot be reached. Your question and what came so far are kept.", ["retry"], { urgent: true });
  }

  heard() {
    clearTimeout(this.suspicion);
    this.suspicion = null;
    if (!this.isLost) return;
    this.isLost = false;
    linkState("Reconnected");
    setTimeout(() => linkState(null, [], { onlyIf: "Reconnected" }), 2_500);
  }

  retryNow() {
    this.failures = 0;
    this.lost();
    this.open();
  }

  check(now) {
    if (!this.socket) return;
    if (this.socket.readyState === WebSocket.OPEN && now - this.heardAt > SILENCE) {
      // Half open: nobody would ever tell.
      this.lost();
      this.open();
    } else if (this.quietSince !== null && !this.isLost && !this.stopping) {
      linkState(`The model has been quiet for ${Math.floor((now - this.quietSince) / 1000)} s.`, ["stop", "stop-and-ask"]);
    }
  }

  quiet(ms) {
    const was = this.quietSince;
    this.quietSince = ms >= SILENCE ? performance.now() - ms : null;
    if (this.quietSince !== null) this.check(performance.now());
    else if (was !== null && !this.isLost) linkState(null);
  }

  // --- Stopping

  stop() {
    if (this.isWaiting) return this.takeBack();
    this.stopping = true;
    this.say("Stopping…");
    if (!this.isLost) linkState(null);
    this.sendCancel();
    composerState();
    return undefined;
  }

  sendCancel() {
    this.socket?.send('{"type":"cancel"}');
  }

  takeBack() {
    this.close();
    const isOnly = this.turn.querySelectorAll("[data-answer]").length === 1;
    (isOnly ? this.turn : this.article).remove();
    if (!this.rerunOf) returnToComposer(this.text);
    askNext();
  }

  say(words) {
    const place = this.article.querySelector("[data-words]");
    if (place) place.textContent = words;
  }
}

// --- Asking -------------------------------------------------------------------------------------------------------------

// A question takes along who is to answer it (`mode`) and whether tools look again (`fresh`).
function ask(question) {
  if (live) return enqueue({ mode: chosenMode(), ...question });
  const turn = question.turn ?? newTurn(question.text);
  const article = place("waiting-template", turn);
  const number = turn.dataset.turn;
  article.setAttribute("aria-label", `Answer ${number}`);
  live = new Following({ mode: chosenMode(), ...question, turn, article });
  article.id = `answer-${live.messageId}`;
  article.dataset.rerunOf = question.rerunOf ?? "";
  live.open();
  announce("Answering");
  composerState();
  follow(true);
  return undefined;
}

function newTurn(text) {
  byId("empty")?.remove();
  const last = thread.querySelector(".turn:last-child");
  const number = Number(last?.dataset.turn || 0) + 1;
  const turn = place("turn-template", thread);
  const question = turn.querySelector(".question");
  turn.dataset.turn = number;
  question.setAttribute("aria-label", `Question ${number}`);
  question.dataset.text = JSON.stringify(text);
  question.querySelector(".bubble").textContent = text;
  return turn;
}

function textOf(question) {
  return JSON.parse(question.dataset.text);
}

function askAgain(article, { mode = chosenMode(), fresh = false } = {}) {
  const turn = article.closest(".turn");
  const text = textOf(turn.querySelector(".question"));
  const rerunOf = article.dataset.workflowId || article.dataset.rerunOf || null;
  if (live) return enqueue({ text, turn, rerunOf, article, mode, fresh });
  for (const open of turn.querySelectorAll(":scope > [data-answer]")) foldAway(open, turn);
  input.focus({ preventScroll: true }); // the button that was pressed is folded away
  return ask({ text, turn, rerunOf, mode, fresh });
}

// The old answer is kept, folded; the place of a refusal is simply taken.
function foldAway(article, turn) {
  if (!article.dataset.workflowId) return article.remove();
  const earlier = turn.querySelector(".earlier") ?? place("earlier-template", turn);
  turn.querySelector(".question").after(earlier);
  earlier.append(article);
  earlier.querySelector("summary").textContent = earlier.querySelectorAll("[data-answer]").length > 1 ? "Earlier answers" : "Earlier answer";
  return undefined;
}

function enqueue(question) {
  const item = place("queued-template", byId("queue"));
  item.querySelector(".queued-text").textContent = question.text;
  waiting.push({ ...question, item });
  remember();
}

function askNext() {
  const question = waiting.shift();
  if (!question) return;
  question.item.remove();
  remember();
  if (question.article) askAgain(question.article, question);
  else ask(question);
}

function takeBack(item) {
  const index = waiting.findIndex((question) => question.item === item);
  const [question] = waiting.splice(index, 1);
  item.remove();
  if (!question.turn) returnToComposer(question.text);
  remember();
  input.focus();
}

function returnToComposer(text) {
  input.value = input.value.trim() ? `${text}\n\n${input.value}` : text;
  fit();
}

function submit() {
  const text = input.value.trim();
  if (!text) return;
  input.value = "";
  fit();
  remember();
  ask({ text });
}

// --- The page around it -------------------------------------------------------------------------------------------------

function opened(id) {
  if (conversation === id) return;
  conversation = id;
  room.dataset.conversation = id;
  history.replaceState(history.state, "", `/c/${id}/`);
  refreshList(`?opened=${id}`);
  remember();
}

function refreshList(query = "") {
  const search = byId("search").value.trim();
  if (search && !query) return;
  window.htmx.ajax("GET", room.dataset.listUrl + query, { target: "#conversations", swap: "innerHTML" }).then(() => {
    const title = room.querySelector("#room-title h1");
    if (conversation && title) document.title = `${title.textContent} · AgenticFleet`;
  }, () => undefined); // The server is away: the list stays as it is until the next answer.
}

function composerState() {
  const hasText = input.value.trim() !== "";
  byId("stop").hidden = !live;
  byId("stop").disabled = Boolean(live?.stopping);
  byId("send").hidden = Boolean(live) && !hasText;
  byId("send").setAttribute("aria-label", live ? "Ask next" : "Send");
}

function linkState(words, actions = [], { urgent = false, onlyIf = null } = {}) {
  const bar = byId("link-state");
  const place = bar.querySelector("[data-words]");
  if (onlyIf !== null && place.textContent !== onlyIf) return;
  if (urgent) bar.setAttribute("role", "alert");
  else bar.removeAttribute("role");
  bar.hidden = words === null;
  if (place.textContent !== words) place.textContent = words ?? "";
  const hadFocus = bar.contains(document.activeElement);
  for (const button of bar.querySelectorAll("button")) button.hidden = !actions.includes(button.dataset.action);
  if (hadFocus && document.activeElement.hidden) input.focus({ preventScroll: true }); // the button that was pressed is gone
}

function announce(words) {
  byId("announce").textContent = words;
}

// What was typed but not asked survives a reload.
function remember() {
  try {
    const texts = waiting.filter((question) => !question.turn).map((question) => question.text);
    const kept = JSON.stringify({ draft: input.value, waiting: texts });
    sessionStorage.setItem(`fleet:${conversation ?? ""}`, kept);
    if (conversation) sessionStorage.removeItem("fleet:");
  } catch {
    // Storage is switched off or full.
  }
}

function recall() {
  let kept = null;
  try {
    kept = JSON.parse(sessionStorage.getItem(`fleet:${conversation ?? ""}`));
  } catch {
    // Nothing to recall.
  }
  if (kept?.draft && !input.value) input.value = kept.draft;
  for (const text of kept?.waiting ?? []) live ? enqueue({ text }) : returnToComposer(text);
}

// --- Markup -------------------------------------------------------------------------------------------------------------

const sink = document.createElement("div");

function show(html) {
  if (!html) return;
  const parsed = document.createElement("template");
  parsed.innerHTML = html;
  makePlaces(parsed.content);
  swap(sink, html, "none");
  if (isFollowing) follow();
}

function swap(target, html, swapStyle) {
  window.htmx.swap(target, html, { swapStyle, swapDelay: 0, settleDelay: 0, ignoreTitle: true });
}

// Out-of-band elements only replace: one that is new gets an empty place at the end of its slot first.
function makePlaces(fragment) {
  for (const element of fragment.children) {
    if (element.content) makePlaces(element.content);
    else if (element.dataset.slot && !byId(element.id)) {
      const slot = byId(element.dataset.slot) ?? live?.article?.querySelector(".timeline");
      const empty = document.createElement(element.localName);
      empty.id = element.id;
      slot?.append(empty);
    }
  }
}

function place(templateId, parent) {
  const element = byId(templateId).content.firstElementChild.cloneNode(true);
  parent.append(element);
  return element;
}

// --- Following the end --------------------------------------------------------------------------------------------------

let isFollowing = true;
let lastTop = 0;

function follow(always = false) {
  if (always) isFollowing = true;
  if (isFollowing && !byId("empty")) scroller.scrollTop = scroller.scrollHeight;
  jumpState();
}

function jumpState() {
  byId("jump").hidden = isFollowing || Boolean(byId("empty")) || scroller.scrollHeight <= scroller.clientHeight + AT_END;
}

function distanceFromEnd() {
  return scroller.scrollHeight - scroller.clientHeight - scroller.scrollTop;
}

scroller.addEventListener("scroll", () => {
  if (distanceFromEnd() < AT_END) isFollowing = true;
  else if (scroller.scrollTop < lastTop) isFollowing = false;
  lastTop = scroller.scrollTop;
  jumpState();
}, { passive: true });

new ResizeObserver(() => follow()).observe(scroller);

// Earlier questions come in above what is being read, which stays where it is.
thread.addEventListener("htmx:beforeSwap", ({ target, detail }) => {
  if (!detail.shouldSwap || !target.matches(".older")) return;
  const below = distanceFromEnd();
  const shown = () => {
    scroller.scrollTop = scroller.scrollHeight - scroller.clientHeight - below;
    (thread.querySelector(".older button") ?? scroller).focus({ preventScroll: true });
  };
  thread.addEventListener("htmx:afterSwap", shown, { once: true });
});

// --- Clocks -------------------------------------------------------------------------------------------------------------

const since = new WeakMap();

function tick() {
  const now = performance.now();
  for (const clock of document.querySelectorAll("[aria-busy=true] [data-tick]")) {
    if (!since.has(clock)) since.set(clock, now);
    const seconds = Math.floor((now - since.get(clock)) / 1000);
    if (seconds > 0) clock.textContent = clock.classList.contains("ticks") ? ` · ${seconds} s` : `${seconds} s`;
  }
  for (const clock of thread.querySelectorAll("[data-countdown]")) {
    if (!since.has(clock)) since.set(clock, now);
    const left = Math.max(0, Number(clock.dataset.countdown) - Math.floor((now - since.get(clock)) / 1000));
    clock.textContent = left ? `in ${left} s` : "now";
  }
  live?.check(now);
}

setInterval(tick, 1_000);

// --- What the reader does -----------------------------------------------------------------------------------------------

const ACTIONS = {
  again: (button) => askAgain(button.closest("[data-answer]")),
  team: (button) => askAgain(button.closest("[data-answer]"), { mode: "full" }),
  fresh: (button) => askAgain(button.closest("[data-answer]"), { mode: button.dataset.mode, fresh: true }),
  continue: () => ask({ text: "Continue." }),
  stop: () => {
    live?.stop();
    input.focus();
  },
  "stop-and-ask": () => {
    live.askAgainAfterwards = true;
    live.stop();
    input.focus();
  },
  retry: () => live?.retryNow(),
  "take-back": (button) => takeBack(button.closest("li")),
  "give-up": () => live?.takeBack(),
  jump: () => follow(true),
  drawer: () => setDrawer(!document.body.classList.contains("drawer-open")),
  running: () => setDrawer(true),
};

document.addEventListener("click", (event) => {
  const target = event.target;
  const button = target.closest("button, [data-action]");
  // Before what was pressed does its work: a dialog gives the focus back to what had it, which is not to be inside a closed menu.
  for (const menu of document.querySelectorAll("[data-menu][open]")) {
    if (!menu.querySelector("summary").contains(target)) closeMenu(menu);
  }
  if (button?.dataset.action) ACTIONS[button.dataset.action]?.(button);
  if (button?.dataset.copy) copy(button);
  if (button?.dataset.modeChoice) {
    chooseMode(button.dataset.modeChoice);
    input.focus();
  }
  if (button?.dataset.example) {
    input.value = button.dataset.example;
    fit();
    input.focus();
  }
  if (target.closest("a.citation")) {
    citation = target.closest("a.citation");
    byId(citation.hash.slice(1))?.closest("details").setAttribute("open", ""); // not every browser does
  }
  if (button?.dataset.open) byId(button.dataset.open).showModal();
  if (button && "close" in button.dataset) button.closest("dialog").close();
});

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});

input.addEventListener("keydown", (event) => {
  if (event.isComposing || event.keyCode === 229) return; // Enter ends the composition of a character
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    submit();
  } else if (event.key === "ArrowUp" && !input.value) {
    const questions = thread.querySelectorAll(".question");
    if (!questions.length) return;
    event.preventDefault();
    input.value = textOf(questions[questions.length - 1]);
    fit();
  }
});

input.addEventListener("input", () => {
  fit();
  remember();
});

document.addEventListener("keydown", (event) => {
  if (event.isComposing || event.keyCode === 229) return;
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "k") {
    event.preventDefault();
    setDrawer(true);
    byId("search").focus();
  } else if (event.key === "/" && !event.target.closest("input, textarea, select, [contenteditable]")) {
    event.preventDefault();
    input.focus();
  } else if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
    const menu = document.querySelector("[data-menu][open]");
    if (menu) closeMenu(menu);
    else if (document.body.classList.contains("drawer-open")) setDrawer(false);
    else if (live && !live.stopping && event.target.id !== "search") ACTIONS.stop();
  }
});

// Back from a source goes on where it was cited: browsers restore only where the page itself is scrolled.
let citation = null;
addEventListener("hashchange", () => location.hash || citation?.focus());

// --- Who answers: chosen once, kept in this browser ---------------------------------------------------------------------

const modeMenu = byId("mode");
const modes = [...modeMenu.querySelectorAll("[data-mode-choice]")];

function chosenMode() {
  return modes.find((button) => button.getAttribute("aria-pressed") === "true").dataset.modeChoice;
}

function chooseMode(mode) {
  const chosen = modes.find((button) => button.dataset.modeChoice === mode);
  if (!chosen) return;
  for (const button of modes) button.setAttribute("aria-pressed", String(button === chosen));
  modeMenu.querySelector("[data-mode-name]").textContent = chosen.dataset.name;
  try {
    localStorage.setItem("fleet:mode", mode);
  } catch {
    // It still holds for this page.
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
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  modeMenu.open = true;
  const at = modes.indexOf(document.activeElement);
  const next = at < 0 ? modes.findIndex((button) => button.dataset.modeChoice === chosenMode()) : at + step;
  modes[(next + modes.length) % modes.length].focus();
});

// What had the focus inside a menu is gone with it.
function closeMenu(menu) {
  const hadFocus = menu.contains(document.activeElement);
  menu.open = false;
  if (hadFocus) menu.querySelector("summary").focus();
}

// A menu that the keyboard leaves is closed.
document.addEventListener("focusout", (event) => {
  const menu = event.target.closest("[data-menu][open]");
  if (menu && event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
});

// What opens at the foot of an answer is brought into view. Who opens a step of a running answer is not taken to the end.
thread.addEventListener("toggle", ({ target }) => {
  if (!target.open) return;
  if (target.matches(".facts, .sources")) target.lastElementChild.scrollIntoView({ block: "nearest" });
  if (target.closest("[aria-busy=true]") && distanceFromEnd() >= AT_END) isFollowing = false;
  jumpState();
}, true);

function fit() {
  // Where the style sheet cannot do it (field-sizing), rows grow with the lines.
  if (!CSS.supports("field-sizing", "content")) input.rows = Math.min(8, input.value.split("\n").length);
  composerState();
}

async function copy(button) {
  const text = {
    code: () => button.closest(".code").querySelector("code").textContent,
    details: () => button.parentElement.querySelector("[data-details]").textContent,
    answer: () => fetch(button.dataset.url).then((reply) => (reply.ok ? reply.text() : Promise.reject(reply.status))),
  }[button.dataset.copy];
  let said = "Copied";
  try {
    await toClipboard(text());
  } catch {
    said = "Not copied";
  }
  const icon = button.querySelector("use");
  if (icon) return copiedIcon(button, icon, said);
  const label = button.textContent;
  button.textContent = said;
  setTimeout(() => (button.textContent = label), 1_500);
  return undefined;
}

function copiedIcon(button, icon, said) {
  const before = icon.getAttribute("href");
  if (before.endsWith("#check")) return;
  announce(said);
  button.title = said;
  if (said === "Copied") icon.setAttribute("href", before.replace(/#.*/, "#check"));
  setTimeout(() => {
    icon.setAttribute("href", before);
    button.title = button.getAttribute("aria-label");
  }, 1_500);
}

async function toClipboard(text) {
  if (navigator.clipboard && window.ClipboardItem) {
    // The promise goes in unresolved: the browser wants the write to begin within the click.
    const blob = Promise.resolve(text).then((words) => new Blob([words], { type: "text/plain" }));
    return navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })]);
  }
  // Without https there is no clipboard object.
  const area = document.createElement("textarea");
  area.value = await text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  input.focus({ preventScroll: true });
  if (!done) throw new Error("not copied");
  return undefined;
}

const narrow = matchMedia("(width < 800px)");

function setDrawer(open) {
  const isOpen = open && narrow.matches;
  document.body.classList.toggle("drawer-open", isOpen);
  document.querySelector(".shade").hidden = !isOpen;
  room.inert = isOpen;
  const button = byId("drawer-button");
  button.setAttribute("aria-expanded", String(isOpen));
  if (isOpen) byId("sidebar").focus();
  else if (narrow.matches && byId("sidebar").contains(document.activeElement)) button.focus();
}

narrow.addEventListener("change", () => setDrawer(false));

// --- The network and the page come and go -------------------------------------------------------------------------------

addEventListener("offline", () => live?.lost());
addEventListener("online", () => live?.retryNow());
document.addEventListener("visibilitychange", () => document.hidden || live?.check(performance.now()));
addEventListener("pagehide", () => live?.disconnect()); // a page with an open socket is not kept for Back
addEventListener("pageshow", (event) => {
  if (event.persisted) live?.open();
});

// --- Beginning: an answer that is still being written is joined again ---------------------------------------------------

for (const article of thread.querySelectorAll("[data-answer][data-live]")) {
  const turn = article.closest(".turn");
  const text = textOf(turn.querySelector(".question"));
  live = new Following({ text, article, turn, messageId: article.dataset.messageId });
  live.workflowId = article.dataset.workflowId;
  live.open();
}
chooseMode(rememberedMode());
recall();
fit();
if (conversation) follow(true);

function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  // Without https there is no randomUUID.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
