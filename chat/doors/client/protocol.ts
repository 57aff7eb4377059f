// Written by `manage.py contract --write` from the structs of chat/protocol.
// Skip types of events, fields and values that you don't know: later versions add some.

/**
 * What the server sends.
 */
export type StreamEvent = Connected | Resumed | RoutingDecided | PhaseStart | PhaseComplete | AgentStart | AgentMessage | AgentOutput | AgentComplete | ToolStart | ToolComplete | ToolRejected | OrchestratorMessage | OrchestratorThought | AskOpened | AskClosed | ReasoningDelta | ReasoningCompleted | ResponseDelta | ResponseSnapshot | ResponseCompleted | Heartbeat | Notice | Cancelled | Done | Error;

/**
 * What a client sends.
 */
export type Request = ChatRequest | ReplyRequest | Cancel;

/**
 * An agent's turn has ended, or was cut.
 */
export interface AgentComplete {
  type: "agent.complete";
  agent_id: string;
  author: string;
  data: AgentTiming;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

/**
 * An agent says something to the others.
 */
export interface AgentMessage {
  type: "agent.message";
  agent_id: string;
  author: string;
  message: string;
  data: NoData;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

/**
 * An agent's result that is not the answer.
 */
export interface AgentOutput {
  type: "agent.output";
  agent_id: string;
  author: string;
  message: string;
  data: NoData;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

/**
 * An agent's turn begins.
 */
export interface AgentStart {
  type: "agent.start";
  agent_id: string;
  author: string;
  data: AgentTask;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

/**
 * What an agent was asked in addition to the question: a specialist's subtask.
 */
export interface AgentTask {
  task?: string;
}

export interface AgentTiming {
  duration_ms: number;
  usage: Usage;
  cut: boolean;
  started_ms: number;
  calls: Array<ModelCall>;
}

export interface AnswerData {
  timings: Timings;
  usage: Usage;
  path: "full" | "light" | null;
}

/**
 * A person has replied. Among the first events of the run that goes on.
 */
export interface AskClosed {
  type: "ask.closed";
  data: AskClosedData;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

/**
 * What became of an ask. `by` is "owner" or "staff".
 */
export interface AskClosedData {
  ask_id: string;
  decision: "answer" | "approve" | "edit" | "refuse" | "withdraw";
  edited: boolean;
  by: string;
}

/**
 * What a person is asked, as the wire has it.
 *
 * `message` is one sentence, the question, or the words of the tool that needs a form. `schema` is
 * that of `arguments`: those of the call, or the values that the fields of a form begin with. A
 * form with a `url` has no fields: the person opens that page. `approver` is "owner", or
 * "perm:app.codename" for staff with that permission.
 */
export interface AskData {
  ask_id: string;
  kind: "approval" | "form" | "question" | "unsure";
  message: string;
  tool?: string;
  call_id?: string;
  arguments?: Record<string, unknown>;
  schema?: Record<string, unknown>;
  options?: Array<string>;
  url?: string;
  approver?: string;
  expires_at?: string;
}

/**
 * A person is asked something. Only in the ending of a paused run.
 */
export interface AskOpened {
  type: "ask.opened";
  agent_id: string;
  author: string;
  data: AskData;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

/**
 * Ends the run of this socket with `cancelled`.
 */
export interface Cancel {
  type: "cancel";
}

/**
 * The run was cancelled. Directly before `done`.
 */
export interface Cancelled {
  type: "cancelled";
  data: NoData;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

/**
 * The first frame: ask, answer again (`rerun_of`), or rejoin (a known `message_id`).
 *
 * `branch_of` asks another text instead of the question that this run answered. `after` is the
 * last seq that a client which rejoins has seen. Without a `model`, the path's one answers;
 * without a `preference`, that of the run which is repeated counts, or else the person's own.
 */
export interface ChatRequest {
  message: string;
  message_id: string;
  conversation_id?: string | null;
  mode?: "auto" | "full" | "light" | "plain";
  fresh?: boolean;
  reasoning_effort?: "maximal" | "medium" | "minimal" | null;
  rerun_of?: string | null;
  branch_of?: string | null;
  model?: string | null;
  preference?: "balanced" | "economy" | "quality" | null;
  after?: number;
}

/**
 * The run exists. Always its first event.
 */
export interface Connected {
  type: "connected";
  data: ConnectedData;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

export interface ConnectedData {
  conversation_id: string;
  message_id: string;
  continues: string | null;
}

/**
 * The end of a completed, cancelled or paused run.
 */
export interface Done {
  type: "done";
  data: Summary;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

/**
 * The end of a failed run, or a refusal, whose `data` is empty.
 */
export interface Error {
  type: "error";
  error: ErrorInfo;
  data: Summary;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

/**
 * What went wrong: `code` for programs, `message` for people.
 *
 * `retry_after_s`: seconds until it may be tried again; left out if that is not known.
 */
export interface ErrorInfo {
  code: "already_answered" | "bad_request" | "context_too_long" | "conversation_busy" | "expired" | "first_chunk_timeout" | "forbidden" | "handshake_timeout" | "idle_timeout" | "internal" | "invalid_arguments" | "max_runtime" | "model_error" | "model_unavailable" | "quota_exceeded" | "rate_limited" | "shutting_down" | "storage_unavailable" | "too_many_requests" | "too_many_runs" | "worker_lost";
  message: string;
  retryable: boolean;
  retry_after_s?: number;
}

/**
 * No frame was sent for a while. Belongs to a socket, not to the run.
 */
export interface Heartbeat {
  type: "heartbeat";
  data: HeartbeatData;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

export interface HeartbeatData {
  silent_ms: number;
}

/**
 * A quotation that is not in a source that it cites. It may be in another one of the run.
 */
export interface MissedQuote {
  text: string;
  cites: Array<number>;
  found_in?: number | null;
}

/**
 * A model call that has ended, or was cut. Times are milliseconds.
 *
 * `started_ms` counts from the run's start, `first_chunk_ms` from the call's. `finish_reason` is
 * the server's; it is empty if the server sent none.
 */
export interface ModelCall {
  number: number;
  model: string;
  started_ms: number;
  duration_ms: number;
  first_chunk_ms?: number | null;
  input_tokens?: number;
  output_tokens?: number;
  cached_tokens?: number;
  reasoning_tokens?: number;
  estimated?: boolean;
  cut?: boolean;
  finish_reason?: string;
  error?: string;
}

export interface NoData {
}

/**
 * Something about this socket, not about the run.
 */
export interface Notice {
  type: "notice";
  message: string;
  data: NoticeData;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

export interface NoticeData {
  code: string;
}

/**
 * A decision about the run, as text.
 */
export interface OrchestratorMessage {
  type: "orchestrator.message";
  message: string;
  data: NoData;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

/**
 * The reason of a decision.
 */
export interface OrchestratorThought {
  type: "orchestrator.thought";
  message: string;
  data: NoData;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

/**
 * A phase has ended, or was cut.
 */
export interface PhaseComplete {
  type: "phase.complete";
  data: PhaseTiming;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

export interface PhaseData {
  phase: string;
}

/**
 * A phase begins.
 */
export interface PhaseStart {
  type: "phase.start";
  data: PhaseData;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

/**
 * How long a phase took. `started_ms` counts from the run's start, also below.
 *
 * `calls` has the model calls that belong to no agent: those of the router's model.
 */
export interface PhaseTiming {
  phase: string;
  duration_ms: number;
  cut: boolean;
  started_ms: number;
  calls: Array<ModelCall>;
}

/**
 * How an answer's quotations and citations agree with what was read of its sources.
 */
export interface QuoteCheck {
  checked?: number;
  found?: number;
  missed?: Array<MissedQuote>;
  unknown?: Array<number>;
}

/**
 * The thinking has ended.
 */
export interface ReasoningCompleted {
  type: "reasoning.completed";
  agent_id: string;
  data: NoData;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

/**
 * A piece of a model's thinking, or of what an agent writes for the others.
 */
export interface ReasoningDelta {
  type: "reasoning.delta";
  delta: string;
  agent_id: string;
  data: NoData;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

/**
 * What a person decided about one ask.
 *
 * `arguments` belong to `edit` and to the answer of a form, `text` to all other answers and to
 * `refuse`. `remember`: approve this tool for the rest of the conversation.
 */
export interface Reply {
  ask_id: string;
  decision: "answer" | "approve" | "edit" | "refuse" | "withdraw";
  arguments?: Record<string, unknown> | null;
  text?: string;
  remember?: boolean;
}

/**
 * The first frame that answers what the paused run `continues` asks. It starts a new run.
 *
 * All asks of that run are answered at once. `message_id` and `after` as in a ChatRequest.
 */
export interface ReplyRequest {
  type: "reply";
  message_id: string;
  continues: string;
  replies: Array<Reply>;
  after?: number;
}

/**
 * The whole answer. Directly before `done`.
 */
export interface ResponseCompleted {
  type: "response.completed";
  message: string;
  data: AnswerData;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

/**
 * A piece of the answer, as the model sent it.
 */
export interface ResponseDelta {
  type: "response.delta";
  delta: string;
  data: NoData;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

/**
 * The answer so far is exactly this text.
 */
export interface ResponseSnapshot {
  type: "response.snapshot";
  data: SnapshotData;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

/**
 * Another worker goes on with the run. Directly behind the opening snapshot of its epoch.
 */
export interface Resumed {
  type: "resumed";
  data: ResumedData;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

/**
 * A worker went on with a run that another one had begun.
 *
 * Steps behind `from_seq` are told again, and so are ends of steps that were `cut`. Reasoning of
 * the agents in `redone` that was not complete is void. `silent_ms` is the time in which the run
 * had no worker.
 */
export interface ResumedData {
  epoch: number;
  from_seq: number;
  silent_ms: number;
  redone: Array<string>;
}

/**
 * The chosen path.
 *
 * `confidence` is the probability that the light path answers well. `usage` is the cost of the
 * router's model, if it was asked. `personal`: the person's own instructions go with the question.
 */
export interface RouteData {
  path: "full" | "light";
  mode: "auto" | "full" | "light" | "plain";
  confidence: number;
  reasons: Array<string>;
  skipped: Array<string>;
  escalated: boolean;
  duration_ms: number;
  usage: Usage;
  personal: boolean;
}

/**
 * A path was chosen; sent again, with `escalated`, if a light answer was not good enough.
 */
export interface RoutingDecided {
  type: "routing.decided";
  data: RouteData;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

export interface Slowest {
  name: string;
  duration_ms: number;
}

export interface SnapshotData {
  text: string;
}

/**
 * A page or a document that a result comes from. Answers cite it by its number.
 *
 * The number is unique in a run. `url` and `host` are empty for a document without an address.
 */
export interface SourceData {
  number: number;
  title: string;
  url: string;
  host: string;
  published: string | null;
}

/**
 * The figures of a run, as its terminal event carries them. All are empty for a refusal.
 */
export interface Summary {
  status?: "cancelled" | "completed" | "failed" | "paused" | null;
  timings?: Timings;
  usage?: Usage;
  path?: "full" | "light" | null;
  escalated?: boolean;
  models?: Array<string>;
  sla?: Verdict | null;
  cost?: number | null;
  waiting?: Array<string>;
  declined?: "language" | "length" | "translation" | null;
  quotes?: QuoteCheck | null;
  unread_messages?: number;
  summarized_messages?: number;
}

/**
 * Milliseconds since the run was started; None if the moment never came.
 *
 * `phases` and `agents` are durations by name. `waiting_ms` is the part of the total that no
 * phase explains; `cancel_ms` is the time from a cancel to the ending; `waited_ms` is the part of
 * the total in which the run had no worker.
 */
export interface Timings {
  first_event_ms?: number | null;
  first_token_ms?: number | null;
  total_ms?: number | null;
  phases?: Record<string, number>;
  agents?: Record<string, number>;
  waiting_ms?: number;
  cancel_ms?: number | null;
  waited_ms?: number;
}

export interface ToolCallData {
  tool: string;
  call_id: string;
  arguments: Record<string, unknown>;
}

/**
 * A tool call has ended, with a result or a failure.
 */
export interface ToolComplete {
  type: "tool.complete";
  agent_id: string;
  author: string;
  data: ToolResultData;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

/**
 * A tool call was dropped before dispatch.
 */
export interface ToolRejected {
  type: "tool.rejected";
  agent_id: string;
  author: string;
  data: ToolRejection;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

export interface ToolRejection {
  tool: string;
  call_id: string;
  reason: string;
}

/**
 * The result of a tool call. `message` is the reason of a failure.
 *
 * `age_s` are seconds since a cached result was fetched.
 */
export interface ToolResultData {
  tool: string;
  call_id: string;
  ok: boolean;
  duration_ms: number;
  cached: boolean;
  age_s: number | null;
  stale: boolean;
  repeated: boolean;
  message: string;
  sources: Array<SourceData>;
  credits: number;
  started_ms: number;
  cut: boolean;
}

/**
 * A tool is called.
 */
export interface ToolStart {
  type: "tool.start";
  agent_id: string;
  author: string;
  data: ToolCallData;
  seq: number;
  workflow_id: string;
  timestamp: string;
  category: "answer" | "ending" | "status" | "step" | "thought" | "tool";
  ui_hint: UiHint;
  log_line: string;
}

export interface UiHint {
  component: string;
  priority: "high" | "low" | "normal";
  collapsible: boolean;
}

/**
 * Tokens as the model server counted them, or as `estimated` if it doesn't, or was cut.
 */
export interface Usage {
  input_tokens: number;
  output_tokens: number;
  cached_tokens: number;
  reasoning_tokens: number;
  model_calls: number;
  tool_calls: number;
  cache_hits: number;
  search_credits: number;
  estimated: boolean;
}

/**
 * Which service levels of its path a run missed, judged once, at its ending.
 *
 * `missed` has the milliseconds above each limit; it is empty if all were met. `slowest` names the
 * slowest phase, agent and tool.
 */
export interface Verdict {
  missed?: Record<string, number>;
  slowest?: Record<string, Slowest>;
}
