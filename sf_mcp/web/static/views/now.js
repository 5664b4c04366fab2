/** Now: what waits for the person, in the order in which it holds up work; then who is at work. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { act, ask, isBusy } from "../actions.js";
import { clock, count, money, short, words } from "../format.js";
import { age, approve, badge, button, cancelTask, contextBar, empty, greenness, icon, idLink, refused, retryTask, routeOf, sendBack, stopSession, submitByKey } from "../parts.js";
import { call } from "../server.js";
import { asked, redraw, serverNow, state } from "../state.js";

/** What waits and is looked at whole beforehand, so that it can be decided from here. */
const MOST_LOOKED_AT = 8;
const LOOKING = {
  review: (id) => asked("show_merge_request", { merge_request: id }),
  question: (id) => asked("get_question", { question: id }),
};

const KINDS = {
  question: { shape: "ask", tone: "wait", word: "question" },
  review: { shape: "merge", tone: "wait", word: "review" },
  stuck: { shape: "warn", tone: "bad", word: "stuck" },
  proposal: { shape: "bulb", tone: "run", word: "proposal" },
  conflict: { shape: "merge", tone: "bad", word: "conflict" },
  paused: { shape: "pause", tone: "wait", word: "paused" },
  budget: { shape: "pause", tone: "wait", word: "budget" },
  configuration: { shape: "warn", tone: "wait", word: "configuration" },
  rewritten: { shape: "warn", tone: "bad", word: "rewritten history" },
  target: { shape: "cross", tone: "bad", word: "target branch" },
};

export function open() {
  /** Texts that were begun, by question. */
  const drafts = new Map();
  /** Questions with a text begun that wait no more: `{id, question, text, what}`. */
  const settled = new Map();
  /** Merge requests and questions as a whole, by id: `{key, resource}`; looked at anew when the key changes. */
  const looked = new Map();
  let before = new Map();

  function onOverview() {
    const present = new Map(state.overview.waiting.map((one) => [one.id, one]));
    for (const [id, item] of before) {
      if (item.kind === "question" && !present.has(id) && drafts.get(id)?.trim()) keepDraft(id, item);
    }
    before = present;
    lookAhead();
  }

  /** Somebody else was faster: say so, and do not throw away what was written. */
  async function keepDraft(id, item) {
    const text = drafts.get(id);
    drafts.delete(id);
    settled.set(id, { id, question: item.text, text, what: "does not wait for you any more" });
    redraw();
    try {
      const { state: now, answered_by: by, answer } = await call("get_question", { question: id });
      const what = { answered: `was answered meanwhile by ${by}: “${answer}”`, withdrawn: "was withdrawn", open: "is being looked at by a director" }[now];
      settled.set(id, { id, question: item.text, text, what });
    } catch {
      // That it does not wait any more is said all the same.
    }
    redraw();
  }

  function lookAhead() {
    const items = state.overview.waiting.filter((one) => LOOKING[one.kind]).slice(0, MOST_LOOKED_AT);
    const statuses = new Map(state.overview.merges.map((one) => [one.id, one.status]));
    for (const { id, kind } of items) {
      const key = statuses.get(id) ?? "";
      if (looked.get(id)?.key === key) continue;
      looked.get(id)?.resource.close();
      looked.set(id, { key, resource: LOOKING[kind](id) });
    }
    for (const [id, { resource }] of looked) {
      if (items.some((one) => one.id === id)) continue;
      resource.close();
      looked.delete(id);
    }
  }

  async function answer(id, text) {
    const given = text.trim();
    if (!given) return;
    // It is no draft any more: that it is gone from the list is our own doing.
    const draft = drafts.get(id);
    drafts.delete(id);
    const done = await act(`question ${id}`, "answer_question", { question_id: id, answer: given }, `${id} is answered.`);
    if (done === undefined && draft !== undefined && before.has(id)) drafts.set(id, draft);
    redraw();
  }

  const bodies = {
    question: (item) => {
      const key = `question ${item.id}`;
      const submit = (event) => {
        event.preventDefault();
        answer(item.id, drafts.get(item.id) ?? "");
      };
      const seen = looked.get(item.id)?.resource.value;
      return html`${seen ? questionFacts(seen, item) : nothing}<div class="reply">
        ${item.options?.length ? html`<div class="options" role="group" aria-label="Answers to ${item.id}">${item.options.map((option) => button(option, key, () => answer(item.id, option)))}</div>` : nothing}
        <form class="answer" @submit=${submit} @keydown=${submitByKey}>
          <textarea rows="1" aria-label="Answer to ${item.id}" placeholder=${item.options?.length ? "Or in your own words" : "Answer"} .value=${drafts.get(item.id) ?? ""} @input=${(event) => { drafts.set(item.id, event.target.value); redraw(); }}></textarea>
          <button type="submit" ?disabled=${isBusy(key) || !drafts.get(item.id)?.trim()}>Answer</button>
        </form>
      </div>`;
    },
    review: (item) => {
      const seen = looked.get(item.id)?.resource.value;
      const key = `decide ${item.id}`;
      return html`${seen ? reviewFacts(seen) : nothing}
        <div class="row">
          ${seen
            ? html`${button("Approve", key, () => approve(item.id, seen.request.commit), { kind: "primary", title: `Approve ${short(seen.request.commit)}` })}
              ${button("Send back…", key, () => sendBack(item.id, seen.request.commit))}`
            : nothing}
          <a class="button" data-open href="#/train/${item.id}">Look at ${item.id}</a>
        </div>`;
    },
    conflict: (item) => html`<div class="row">
      <a class="button" data-open href="#/train/${item.id}">Look at ${item.id}</a>
      ${button("Send back…", `decide ${item.id}`, () => sendBack(item.id, ""))}
      <code>${item.command}</code>
    </div>`,
    stuck: (item) => {
      const id = item.task_id ?? item.id;
      return html`<div class="row">
        ${button("Retry", `task ${id}`, () => retryTask(id), { kind: "primary" })}
        ${button("Cancel the task…", `task ${id}`, () => cancelTask(id, item.text))}
      </div>`;
    },
    proposal: (item) => {
      const id = item.task_id ?? item.id;
      const decide = (accept) => act(`task ${id}`, "update_task", { task: id, accept }, accept ? `${id} is accepted.` : `${id} is refused.`);
      return html`<div class="row">
        ${button("Accept", `task ${id}`, () => decide(true), { kind: "primary" })}
        ${button("Refuse", `task ${id}`, () => decide(false))}
      </div>`;
    },
    paused: () => html`<div class="row">${button("Resume", "fleet", resume, { kind: "primary" })}</div>`,
  };

  function item(one) {
    const kind = KINDS[one.kind] ?? { shape: "note", tone: "wait", word: words(one.kind) };
    const seen = looked.get(one.id)?.resource;
    const body = bodies[one.kind]?.(one) ?? (one.command ? html`<p><code>${one.command}</code></p>` : nothing);
    return html`<li class="item" data-row tabindex="-1" data-item=${one.id}>
      <span class=${kind.tone}>${icon(kind.shape)}</span>
      <div>
        <p class="item-text">${one.text}</p>
        <div class="item-facts">
          <span>${kind.word}${one.id ? html` ${routeOf(one.id) === "#/now" ? html`<span class="id">${one.id}</span>` : idLink(one.id)}` : nothing}</span>
          ${one.task_id && one.task_id !== one.id ? html`<span>of ${idLink(one.task_id)}</span>` : nothing}
          ${one.since ? html`<span>waits for ${age(one.since)}</span>` : nothing}
          ${seen?.value?.asker ? html`<span>${seen.value.asker} asks${seen.value.is_parked ? " and is parked until you answer" : nothing}</span>` : nothing}
        </div>
      </div>
      ${one.behind ? html`<p class="behind">holds up <strong class="num">${one.behind}</strong> ${one.behind === 1 ? "task" : "tasks"}</p>` : html`<span></span>`}
      <div class="item-body" aria-busy=${seen ? !seen.value && !seen.error : nothing}>${seen?.error ? refused(seen.error) : nothing}${body}</div>
    </li>`;
  }

  function settledItem(one) {
    return html`<li class="item settled" data-settled=${one.id}>
      <span class="ok">${icon("check")}</span>
      <div>
        <p class="item-text">${one.question}</p>
        <p>${one.id} ${one.what}. You had written: “${one.text}”</p>
      </div>
      <button type="button" class="bare" @click=${() => { settled.delete(one.id); redraw(); }}>Dismiss</button>
    </li>`;
  }

  function waiting() {
    const { waiting: items, waiting_count: all } = state.overview;
    const isIdle = !items.length && !settled.size;
    return html`<section class="section" aria-labelledby="waiting">
      <h2 id="waiting">Waits for you ${all ? html`<span class="num">${all}</span>` : nothing}</h2>
      ${isIdle
        ? html`<p class="next">${badge("ok", "check", "Nothing waits for you.")}</p>`
        : html`<ul class="list">
            ${repeat([...settled.values()], (one) => `settled ${one.id}`, settledItem)}
            ${repeat(items, (one) => `${one.kind} ${one.id} ${one.task_id ?? ""}`, item)}
          </ul>`}
    </section>`;
  }

  return {
    title: "Now",
    bar: fleetButton,
    onOverview,
    render() {
      if (!state.overview) return html`<p class="quiet" role="status">Waiting for the server…</p>`;
      if (!before.size && state.overview.waiting.length) onOverview();
      const { overview } = state;
      if (!overview.plans.length && !overview.sessions.length) {
        return html`${headline(overview)}${overview.waiting.length ? waiting() : nothing}<div class="section">${empty(
          "Nothing is planned yet",
          html`Talk it over with a director, <code>sf-launch director</code>, or write the plan yourself:`,
          'sf plan create --title "Sprint 14"',
        )}</div>`;
      }
      return html`${headline(overview)}${waiting()}${notes(overview)}${sessions(overview)}`;
    },
    close() {
      for (const { resource } of looked.values()) resource.close();
    },
  };
}

/** What the list has no room for: the whole text, and why it is asked. */
function questionFacts(seen, item) {
  const whole = seen.text.length > item.text.length && seen.text !== item.text ? seen.text : "";
  return html`${whole || seen.context ? html`<details class="context-text"><summary>${seen.context ? "Background" : "The whole question"}</summary>${whole ? html`<p>${whole}</p>` : nothing}${seen.context ? html`<p>${seen.context}</p>` : nothing}</details>` : nothing}`;
}

function reviewFacts(seen) {
  const failed = seen.checks.filter((one) => !one.passed && !one.is_old);
  return html`<div class="item-facts">
    <span>${count(seen.total_files, "file")} <span class="num">+${seen.added} −${seen.removed}</span></span>
    ${seen.checks.length ? (failed.length ? badge("bad", "cross", `${failed.map((one) => one.name).join(", ")} failed`) : badge("ok", "check", `${count(seen.checks.length, "check")} passed`)) : html`<span>not checked yet</span>`}
    ${seen.risks.length ? badge("wait", "warn", count(seen.risks.length, "risk")) : nothing}
    <span>at <span class="mono">${short(seen.request.commit)}</span></span>
  </div>`;
}

// -- the headline --------------------------------------------------------------------------------

function resume() {
  return act("fleet", "resume_fleet", {}, "The fleet goes on.");
}

async function pause() {
  const given = await ask({
    title: "Pause the fleet",
    text: "No sessions start and nothing lands until you resume; those that run go on to their turn's end.",
    fields: [{ name: "reason", label: "Reason (optional)", kind: "line" }],
    confirm: "Pause",
  });
  if (given) await act("fleet", "pause_fleet", { reason: given.reason }, "The fleet is paused.");
}

function fleetButton() {
  if (!state.overview) return nothing;
  const isHeld = state.overview.paused || state.overview.parked_until;
  return isHeld ? button("Resume the fleet", "fleet", resume) : button("Pause the fleet", "fleet", pause);
}

function headline(overview) {
  const { target, counts } = overview;
  const done = (counts.merged ?? 0) + (counts.closed ?? 0);
  const running = overview.sessions.filter((one) => one.state === "running" || one.state === "starting").length;
  const stuck = counts.stuck ?? 0;
  return html`<div class="headline" data-headline>
    <span class="fact"><strong>${target.branch}</strong> <span class="mono">${short(target.commit)}</span> ${greenness(target.is_green)}</span>
    <span class="fact"><strong class="num">${running}</strong> running</span>
    <span class="fact"><strong class="num">${overview.ready}</strong> ready</span>
    <span class="fact"><strong class="num">${overview.blocked}</strong> blocked</span>
    <span class="fact"><strong class="num">${counts.in_review ?? 0}</strong> in review</span>
    ${stuck ? html`<span class="fact bad">${badge("bad", "warn", `${stuck} stuck`)}</span>` : nothing}
    <span class="fact"><strong class="num">${done}</strong> done</span>
    <span class="fact"><strong class="num">${money(overview.cost_usd)}</strong> spent</span>
    ${overview.paused ? badge("wait", "pause", `paused: ${overview.paused}`) : nothing}
    ${overview.parked_until ? badge("wait", "pause", `${overview.parked_reason}; goes on at ${clock(overview.parked_until, serverNow())}`) : nothing}
  </div>`;
}

function notes(overview) {
  // What waits for the person is above.
  const above = new Set(overview.waiting.map((one) => one.text));
  const list = overview.notes.filter((text) => !above.has(text)).map((text) => ({ text, command: "" }));
  const { target } = overview;
  if (target.remedy) list.push({ text: `Your checkout: ${target.checkout}`, command: target.remedy });
  if (!list.length) return nothing;
  return html`<section class="section" aria-labelledby="notes"><h2 id="notes">To know</h2>
    <ul class="list">${list.map((one) => html`<li class="line">${icon("note")}<span class="grow">${one.text}</span>${one.command ? html`<code>${one.command}</code>` : nothing}</li>`)}</ul>
  </section>`;
}

// -- sessions ------------------------------------------------------------------------------------

/** What a session is doing: three facts, none guessed from another (process, turn, sign of life). */
function turnState(one) {
  switch (one.state) {
    case "starting":
      return badge("run", "dashed", "starting");
    case "running":
      if (one.question_id && !one.is_turn_active) return badge("wait", "ask", "waits");
      return one.is_turn_active ? badge("run", "half", "in a turn") : badge("quiet", "ring", "at rest");
    case "parked":
      return badge("wait", "ask", "waits");
    case "stopping":
      return badge("quiet", "cross", "stopping");
    case "taken_over":
      return badge("wait", "half", "taken over");
    case "backoff":
      return badge("wait", "pause", "backs off");
    default:
      return badge("quiet", "ring", words(one.state));
  }
}

function session(one) {
  return html`<li class="session" data-row tabindex="-1" data-session=${one.name}>
    <span class="who clip" title=${one.role}>${one.name}</span>
    <span class="about row"><span class="clip grow">${one.subject ? idLink(one.subject) : nothing} ${one.title}</span></span>
    <span class="state" title=${one.note || nothing}>${turnState(one)}</span>
    ${contextBar(one.context_tokens, one.context_window)}
    <span class="money num">${money(one.cost_usd)}</span>
    <span class="last clip" title=${one.question || one.last_line}>${one.question_id ? html`asks ${one.question_id} since ${age(one.asked_at)}: ${one.question}` : one.note || one.last_line}</span>
    <span class="age quiet" title="last sign of life">${age(one.heard_at)}</span>
    <span class="does">${button("Stop…", `session ${one.id}`, () => stopSession(one.id, one.name), { kind: "bare", title: `Stop ${one.name}` })}</span>
  </li>`;
}

function sessions(overview) {
  const all = overview.sessions;
  if (!all.length) {
    const text = overview.ready
      ? html`${count(overview.ready, "task")} could start. Is the fleet running? <code>sf serve</code> starts it.`
      : "Nothing is ready to start.";
    return html`<section class="section"><h2>Sessions</h2>${empty("No session is at work", text)}</section>`;
  }
  return html`<section class="section" aria-labelledby="sessions">
    <h2 id="sessions">Sessions <span class="num">${all.length}</span></h2>
    <div class="list">
      <div class="session header" aria-hidden="true"><span>session</span><span>works on</span><span>state</span><span>context</span><span class="money">cost</span><span>last line</span><span class="age">heard</span><span></span></div>
      <ul class="rows">${repeat(all, (one) => one.id, session)}</ul>
    </div>
  </section>`;
}
