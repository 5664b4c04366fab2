/** Pieces that several views show. All of them are templates: what they are given is text. */

import { html, nothing, svg } from "./vendor/lit-html/lit-html.js";
import { repeat } from "./vendor/lit-html/directives/repeat.js";
import { act, ask, dismiss, isBusy } from "./actions.js";
import { clock, count, duration, tokens, utc, words } from "./format.js";
import { serverNow, state } from "./state.js";

// -- states: a colour, a shape and a word, so that none of them has to be seen -----------------

const SHAPES = {
  ring: svg`<circle cx="8" cy="8" r="5.5" />`,
  dashed: svg`<circle cx="8" cy="8" r="5.5" stroke-dasharray="2.2 2.2" />`,
  half: svg`<circle cx="8" cy="8" r="5.5" /><path class="fill" d="M8 4.5a3.5 3.5 0 0 1 0 7z" />`,
  dot: svg`<circle class="fill" cx="8" cy="8" r="4" />`,
  check: svg`<circle cx="8" cy="8" r="5.5" /><path d="m5.5 8.2 1.8 1.8 3.2-3.8" />`,
  cross: svg`<circle cx="8" cy="8" r="5.5" /><path d="m6 6 4 4m0-4-4 4" />`,
  warn: svg`<path d="M8 2.6 14 13H2z" /><path d="M8 6.5v3m0 1.6v.2" />`,
  pause: svg`<circle cx="8" cy="8" r="5.5" /><path d="M6.7 6v4m2.6-4v4" />`,
  ask: svg`<circle cx="8" cy="8" r="5.5" /><path d="M6.4 6.6c.2-1.9 3.3-1.8 3.2.1-.1 1.1-1.6 1.1-1.6 2.1m0 1.7v.2" />`,
  merge: svg`<circle cx="4.5" cy="4" r="1.7" /><circle cx="4.5" cy="12" r="1.7" /><circle cx="11.5" cy="9" r="1.7" /><path d="M4.5 5.7v4.6M4.5 6c.3 2 2.5 3 5.3 3" />`,
  bulb: svg`<path d="M8 3.2v9.6M3.2 8h9.6" />`,
  bolt: svg`<path d="M9 2.2 4 9h3.6L7 13.8 12 7H8.4z" />`,
  note: svg`<circle cx="8" cy="8" r="5.5" /><path d="M8 7.2V11m0-6v.2" />`,
};

const TASK_STATES = {
  proposed: ["bulb", "quiet"],
  ready: ["ring", "run"],
  blocked: ["dashed", "quiet"],
  open: ["ring", "quiet"],
  claimed: ["half", "run"],
  waiting: ["ask", "wait"],
  in_review: ["merge", "run"],
  merged: ["check", "ok"],
  closed: ["check", "ok"],
  stuck: ["warn", "bad"],
  cancelled: ["cross", "quiet"],
};

/** An icon by name; decoration beside a word, so that it is not read out. */
export function icon(name) {
  return html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true">${shapeOf(name)}</svg>`;
}

/** The lines of an icon, 16 by 16, for a picture that has it inside. */
export function shapeOf(name) {
  return SHAPES[name] ?? SHAPES.dot;
}

/** A state in its colour, with its shape and its word; `tone`: ok, bad, wait, run, quiet. */
export function badge(tone, shape, word) {
  return html`<span class="badge ${tone}">${icon(shape)}<span>${word}</span></span>`;
}

/** The shape and the tone of a task's state, computed ones (`ready`, `blocked`) too. */
export function taskLook(name) {
  const [shape, tone] = TASK_STATES[name] ?? ["ring", "quiet"];
  return { shape, tone };
}

/** A task's state as a badge. */
export function taskBadge(name) {
  const { shape, tone } = taskLook(name);
  return badge(tone, shape, words(name));
}

/** Whether a commit of the target passes its checks; null: nobody has looked. */
export function greenness(isGreen) {
  if (isGreen === null || isGreen === undefined) return badge("quiet", "dashed", "not checked");
  return isGreen ? badge("ok", "check", "green") : badge("bad", "cross", "red");
}

// -- times and amounts -------------------------------------------------------------------------

/** How long ago, by the server's clock; the moment itself in the title. */
export function age(at) {
  if (!at) return nothing;
  const span = serverNow() - Date.parse(at);
  return html`<time class="num" datetime=${at} title="${clock(at, Date.now(), { seconds: true })} (${utc(at)})">${duration(span)}</time>`;
}

/** A moment: the time of day here, UTC in the title. */
export function moment(at, options) {
  if (!at) return nothing;
  return html`<time class="num" datetime=${at} title=${utc(at)}>${clock(at, serverNow(), options)}</time>`;
}

/** How full a session's context is; the marks are where it hands off and where it is stopped. */
export function contextBar(used, window_, { handoffAt = 0.7, endAt = 0.88 } = {}) {
  const share = window_ ? Math.min(1, used / window_) : 0;
  const tone = share >= endAt ? "bad" : share >= handoffAt ? "wait" : "run";
  const text = `${tokens(used)} of ${tokens(window_)} tokens`;
  return html`<span class="context" title="${text}; handoff at ${Math.round(handoffAt * 100)} %">
    <svg class="bar ${tone}" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label="context: ${text}">
      <rect class="track" width="100" height="6" />
      <rect class="value" width=${(share * 100).toFixed(1)} height="6" />
      <rect class="mark" x=${handoffAt * 100} width="0.8" height="6" />
      <rect class="mark" x=${endAt * 100} width="0.8" height="6" />
    </svg>
    <span class="num quiet">${Math.round(share * 100)} %</span>
  </span>`;
}

/** How much of something is done, as a thin bar. */
export function progressBar(done, total) {
  const share = total ? (done / total) * 100 : 0;
  return html`<svg class="bar ok" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label="${done} of ${total} done">
    <rect class="track" width="100" height="6" />
    <rect class="value" width=${share.toFixed(1)} height="6" />
  </svg>`;
}

// -- names that lead somewhere -------------------------------------------------------------------

/** A link to what an id names: a task, merge request, plan, question; other text stays text. */
export function idLink(id) {
  const to = routeOf(id);
  return to ? html`<a class="id" href=${to}>${id}</a>` : html`<span class="id">${id}</span>`;
}

/** Where an id leads; empty when nowhere. */
export function routeOf(id) {
  const text = String(id ?? "");
  if (/^T\d+$/.test(text)) return `#/task/${text}`;
  if (/^M\d+$/.test(text)) return `#/train/${text}`;
  if (/^P\d+$/.test(text)) return `#/plan/${text}`;
  if (/^Q\d+$/.test(text)) return "#/now";
  return "";
}

// -- actions -------------------------------------------------------------------------------------

/** A button of an action: off while the action with this key is under way. */
export function button(label, key, onClick, { kind = "", title = "" } = {}) {
  const busy = isBusy(key);
  return html`<button type="button" class=${kind} title=${title || nothing} ?disabled=${busy} aria-busy=${busy} @click=${onClick}>${label}</button>`;
}

/** Ask for the reason, then send the merge request back; `commit` is the one that was looked at. */
export async function sendBack(id, commit) {
  const given = await ask({
    title: `Send ${id} back`,
    text: "A worker of the task goes on with what you write. The approval, if there was one, is gone.",
    fields: [{ name: "reason", label: "What must change, and where", kind: "text", isRequired: true }],
    confirm: "Send back",
  });
  if (given) await act(`decide ${id}`, "send_back", { merge_request: id, commit, reason: given.reason }, `${id} goes back.`);
}

export function approve(id, commit) {
  return act(`decide ${id}`, "approve_merge", { merge_request: id, commit }, `${id} is approved at ${String(commit).slice(0, 8)}.`);
}

export async function cancelTask(id, title) {
  const isSure = await ask({
    title: `Cancel ${id}?`,
    text: `“${title}” ends for good. Its commits are kept; what depends on it stays blocked.`,
    confirm: "Cancel the task",
    isDanger: true,
  });
  if (isSure) await act(`task ${id}`, "cancel_task", { task: id }, `${id} is cancelled.`);
}

export function retryTask(id) {
  return act(`task ${id}`, "retry_task", { task: id }, `${id} is open again.`);
}

export async function stopSession(id, name) {
  const given = await ask({
    title: `Stop ${name}?`,
    text: "The session ends; its work is kept as a snapshot and its task is open again.",
    fields: [{ name: "reason", label: "Reason (optional)", kind: "line" }],
    confirm: "Stop the session",
    isDanger: true,
  });
  if (given) await act(`session ${id}`, "stop_session", { session: id, reason: given.reason }, `${name} is asked to stop.`);
}

export const PRIORITIES = [
  ["1", "1, most urgent"],
  ["2", "2"],
  ["3", "3, usual"],
  ["4", "4"],
  ["5", "5, least urgent"],
];

export async function reprioritise(id, priority) {
  const given = await ask({
    title: `Priority of ${id}`,
    fields: [{ name: "priority", label: "Priority", kind: "choice", value: String(priority), choices: PRIORITIES }],
    confirm: "Set",
  });
  if (given) await act(`task ${id}`, "update_task", { task: id, priority: Number(given.priority) }, `${id} has priority ${given.priority}.`);
}

const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

/** Ask for a task and add it, into this plan unless another is chosen. */
export async function newTask(plan = "") {
  const plans = (state.overview?.plans ?? []).filter((one) => one.state !== "cancelled");
  if (!plans.length) {
    await ask({ title: "There is no plan yet", text: "Create one first: sf plan create --title \"Sprint 14\"", confirm: "Close" });
    return;
  }
  const chosen = plan || (plans.find((one) => one.state === "active") ?? plans[0]).id;
  const given = await ask({
    title: "New task",
    fields: [
      { name: "plan", label: "Plan", kind: "choice", value: chosen, choices: plans.map((one) => [one.id, `${one.id} ${one.title}`]) },
      { name: "title", label: "Title", kind: "line", isRequired: true },
      { name: "description", label: "Description", kind: "text" },
      { name: "acceptance", label: "Acceptance criteria", kind: "text", hint: "One a line." },
      { name: "priority", label: "Priority", kind: "choice", value: "3", choices: PRIORITIES },
      { name: "depends", label: "Depends on", kind: "line", hint: "Ids of tasks, as T3, T5." },
    ],
    confirm: "Create",
  });
  if (!given) return;
  const task = {
    title: given.title,
    description: given.description,
    acceptance: lines(given.acceptance),
    priority: Number(given.priority),
    depends_on: given.depends.split(/[\s,]+/).filter(Boolean),
  };
  await act("new task", "add_tasks", { plan: given.plan, tasks: [task] }, (made) => `${made[0].id} is in ${given.plan}.`);
}

// -- a patch -------------------------------------------------------------------------------------

const MOST_LINES = 2000;

/** The lines of a patch with their kinds; a file's own lines become one with its path. */
function* patchLines(text) {
  let isHead = false;
  for (const line of text.split("\n")) {
    if (line.startsWith("diff --git ")) {
      isHead = true;
      yield ["head", line.replace(/^diff --git (?:"?a\/.*?"?) "?b\/(.*?)"?$/, "$1")];
    } else if (line.startsWith("@@")) {
      isHead = false;
      yield ["hunk", line];
    } else if (isHead) {
      // The path is said already, and the ids of blobs say nothing to anybody.
      if (!/^(index |--- |\+\+\+ )/.test(line) && line) yield ["hunk", line];
    } else if (line.startsWith("+")) yield ["added", line];
    else if (line.startsWith("-")) yield ["removed", line];
    else yield ["", line];
  }
}

/** A patch, each line in its colour and with its sign. */
export function patch(text, label = "Changes") {
  const all = [...patchLines(text.replace(/\n$/, ""))];
  const shown = all.slice(0, MOST_LINES);
  return html`<div class="patch" role="region" tabindex="0" aria-label=${label}>
      ${shown.map(([kind, line]) => html`<div class="patch-line ${kind}">${line || " "}</div>`)}
    </div>
    ${all.length > shown.length ? html`<p class="quiet">${count(all.length - shown.length, "line")} more: sf mr show in a terminal.</p>` : nothing}`;
}

// -- what is missing, dialog, toasts -------------------------------------------------------------

/** A place where nothing is: what that means, and what to do about it. */
export function empty(title, text, command = "") {
  return html`<div class="empty"><p class="empty-title">${title}</p><p>${text}</p>${command ? html`<p><code>${command}</code></p>` : nothing}</div>`;
}

/** A refusal in a view: what happened, what to do. */
export function refused(error) {
  return html`<div class="refused" role="alert">${icon("warn")}<p>${error.message}</p>${error.remedy ? html`<p class="quiet">${error.remedy}</p>` : nothing}</div>`;
}

function field(one, index) {
  const id = `field-${one.name}`;
  const hint = one.hint ? `${id}-hint` : nothing;
  const control = {
    line: () => html`<input id=${id} name=${one.name} .defaultValue=${one.value ?? ""} ?required=${one.isRequired} aria-describedby=${hint} autocomplete="off" ?autofocus=${index === 0} />`,
    text: () => html`<textarea id=${id} name=${one.name} rows="3" .defaultValue=${one.value ?? ""} ?required=${one.isRequired} aria-describedby=${hint} ?autofocus=${index === 0}></textarea>`,
    choice: () => html`<select id=${id} name=${one.name} aria-describedby=${hint} ?autofocus=${index === 0}>
      ${one.choices.map(([value, label]) => html`<option value=${value} ?selected=${value === one.value}>${label}</option>`)}
    </select>`,
  }[one.kind]();
  return html`<div class="field"><label for=${id}>${one.label}</label>${control}${one.hint ? html`<p class="hint" id=${hint}>${one.hint}</p>` : nothing}</div>`;
}

/** The dialog that `ask` opened; the page shows it on top of everything. */
export function dialog() {
  const open = state.dialog;
  if (!open) return nothing;
  const submit = (event) => {
    event.preventDefault();
    open.close(Object.fromEntries(new FormData(event.target)));
  };
  return html`<dialog class="dialog" aria-labelledby="dialog-title" @cancel=${(event) => { event.preventDefault(); open.close(null); }}>
    <form @submit=${submit} @keydown=${submitByKey}>
      <h2 id="dialog-title">${open.title}</h2>
      ${open.text ? html`<p>${open.text}</p>` : nothing}
      ${repeat(open.fields, (one) => one.name, field)}
      <div class="row end">
        <button type="button" @click=${() => open.close(null)} ?autofocus=${!open.fields.length}>Back</button>
        <button type="submit" class=${open.isDanger ? "danger" : "primary"}>${open.confirm}</button>
      </div>
    </form>
  </dialog>`;
}

/** Ctrl-Enter (or ⌘-Enter) sends a form also from a text of several lines. */
export function submitByKey(event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    event.currentTarget.requestSubmit();
  }
}

/** What was said of actions. */
export function toasts() {
  return html`<div class="toasts" aria-live="polite">
    ${repeat(state.toasts, (one) => one.id, (one) => html`<div class="toast ${one.kind}" role=${one.kind === "bad" ? "alert" : nothing}>
      ${icon(one.kind === "bad" ? "warn" : "check")}
      <div><p>${one.text}</p>${one.remedy ? html`<p class="quiet">${one.remedy}</p>` : nothing}</div>
      <button type="button" class="bare" aria-label="Dismiss" @click=${() => dismiss(one.id)}>×</button>
    </div>`)}
  </div>`;
}
