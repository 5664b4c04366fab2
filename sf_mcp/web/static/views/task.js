/** Task: why it stands where it does, what is asked, what was done about it, what it changed. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { act, isBusy } from "../actions.js";
import { clock, count, duration, money, short, withoutCommand, words } from "../format.js";
import { age, badge, button, cancelTask, contextBar, empty, icon, idLink, moment, refused, reprioritise, retryTask, routeOf, stopSession, submitByKey, taskBadge } from "../parts.js";
import { asked, redraw, serverNow, state } from "../state.js";
import { Diff } from "./diff.js";
import { Transcript } from "./transcript.js";

const OVER = new Set(["merged", "closed", "cancelled"]);
const LIVE = new Set(["starting", "running", "stopping"]);
const TABS = { summary: "Summary", changes: "Changes", transcript: "Transcript", history: "History" };
const FAILED = new Set(["no_outcome", "timed_out", "killed", "failed_to_start", "context_full", "authentication", "bad_configuration"]);

export function open(id) {
  const shown = asked("show_task", { task: id });
  let tab = "summary";
  let diff = null;
  let snapshots = null; // asked for when History is opened
  let snapshotDiff = null; // {number, diff}
  let transcript = null;
  let chosen = ""; // the session whose transcript is read
  let heard = ""; // when the overview last heard of that session
  let draft = "";

  const panels = { summary, changes, transcript: transcripts, history };
  const isOver = () => OVER.has(shown.value?.standing);

  function close() {
    shown.close();
    diff?.close();
    snapshots?.close();
    snapshotDiff?.diff.close();
    transcript?.close();
  }

  return {
    get title() {
      return shown.value ? `${id} ${shown.value.task.title}` : id;
    },
    bar: () => (shown.value ? actions(shown.value) : nothing),
    onEvents(events) {
      // What it waits for is told by other tasks' events.
      if (!isOver() || events.some((one) => one.subject === id)) shown.refresh();
      if (events.some((one) => one.subject === id || one.data?.task === id)) {
        diff?.refresh();
        snapshots?.refresh();
      }
    },
    onOverview() {
      const now = transcript && state.overview.sessions.find((one) => one.id === chosen)?.heard_at;
      if (now && now !== heard) transcript.follow();
      heard = now;
    },
    close,
    render() {
      if (shown.error && !shown.value) return refused(shown.error);
      if (!shown.value) return html`<p class="quiet" role="status">Looking at ${id}…</p>`;
      const seen = shown.value;
      return html`${shown.error ? refused(shown.error) : nothing}${headline(seen)}${why(seen)}${question(seen)}
        <div class="tabs" role="tablist" aria-label="About ${id}" @keydown=${moveTab}>${Object.entries(TABS).map(([name, label]) => html`<button type="button" role="tab" id="tab-${name}" aria-selected=${tab === name} aria-controls="panel" tabindex=${tab === name ? 0 : -1} @click=${() => choose(name)}>${label}</button>`)}</div>
        <div role="tabpanel" id="panel" aria-labelledby="tab-${tab}">${panels[tab](seen)}</div>`;
    },
  };

  function choose(name) {
    tab = name;
    redraw();
  }

  function moveTab(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const names = Object.keys(TABS);
    choose(names[(names.indexOf(tab) + step + names.length) % names.length]);
    requestAnimationFrame(() => document.getElementById(`tab-${tab}`)?.focus());
  }

  // -- above the tabs ------------------------------------------------------------------------------

  function actions({ task, sessions }) {
    const live = sessions.find((one) => LIVE.has(one.state) || one.state === "parked" || one.state === "backoff");
    const decide = (accept) => act(`task ${id}`, "update_task", { task: id, accept }, accept ? `${id} is accepted.` : `${id} is refused.`);
    return html`
      ${task.state === "stuck" ? button("Retry", `task ${id}`, () => retryTask(id), { kind: "primary" }) : nothing}
      ${task.state === "proposed" ? html`${button("Accept", `task ${id}`, () => decide(true), { kind: "primary" })}${button("Refuse", `task ${id}`, () => decide(false))}` : nothing}
      ${isOver() ? nothing : button("Priority…", `task ${id}`, () => reprioritise(id, task.priority))}
      ${live ? button(`Stop ${live.name}…`, `session ${live.id}`, () => stopSession(live.id, live.name)) : nothing}
      ${isOver() ? nothing : button("Cancel…", `task ${id}`, () => cancelTask(id, task.title), { kind: "danger" })}`;
  }

  function headline({ task, plan, standing, effective_priority: effective, is_critical: isCritical, sessions, cost_usd: cost }) {
    const live = sessions.find((one) => LIVE.has(one.state));
    return html`<div class="headline" data-task=${id}>
      ${taskBadge(standing)}
      <span>in <a href="#/plan/${plan.id}"><span class="id">${plan.id}</span> ${plan.title}</a></span>
      <span>priority <strong class="num">${effective}</strong>${effective === task.priority ? nothing : html` (its own: ${task.priority})`}</span>
      ${task.estimate_minutes ? html`<span>estimated at ${duration(task.estimate_minutes * 60_000)}</span>` : nothing}
      ${isCritical ? html`<span class="fact"><span class="critical-mark" aria-hidden="true"></span>on the critical path</span>` : nothing}
      ${live ? html`<span>${live.name}, ${words(live.state)}</span>` : nothing}
      <span><strong class="num">${money(cost)}</strong> spent</span>
    </div>`;
  }

  function why({ why: answer }) {
    const steps = [...new Set([...(answer.changes ?? []), answer.next_step])].filter(Boolean);
    const expected = answer.expected_at ? Date.parse(answer.expected_at) : 0;
    return html`<section class="why" aria-label="Why" data-why>
      <p class="why-sentence">${linked(answer.sentence)}</p>
      ${answer.facts?.length ? html`<ul>${answer.facts.map((fact) => html`<li>${linked(fact)}</li>`)}</ul>` : nothing}
      ${steps.length ? html`<ul aria-label="What to do">${steps.map((one) => html`<li>${isCommand(one) ? html`<code>${one}</code>` : linked(one)}</li>`)}</ul>` : nothing}
      ${answer.expected ? html`<p class="quiet">Expected: ${expected ? html`<strong title=${answer.expected}>${expected > serverNow() ? `in ${duration(expected - serverNow())}` : "any moment"}, ${clock(expected, serverNow())}</strong>` : answer.expected}</p>` : nothing}
    </section>`;
  }

  function question({ questions }) {
    const open_ = questions.find((one) => one.state === "open");
    if (!open_) return nothing;
    const key = `question ${open_.id}`;
    const answer = (text) => text.trim() && act(key, "answer_question", { question_id: open_.id, answer: text.trim() }, `${open_.id} is answered.`).then((done) => { if (done !== undefined) draft = ""; redraw(); });
    const submit = (event) => { event.preventDefault(); answer(draft); };
    return html`<section class="section list" aria-label="Open question"><div class="item" data-item=${open_.id}>
      <span class="wait">${icon("ask")}</span>
      <div><p class="item-text">${open_.text}</p>${open_.context ? html`<p class="text quiet">${open_.context}</p>` : nothing}<p class="item-facts"><span class="id">${open_.id}</span><span>waits for ${age(open_.asked_at)}</span></p></div><span></span>
      <div class="item-body">
        ${open_.options.length ? html`<div class="options" role="group" aria-label="Answers to ${open_.id}">${open_.options.map((option) => button(option, key, () => answer(option)))}</div>` : nothing}
        <form class="answer" @submit=${submit} @keydown=${submitByKey}>
          <textarea rows="1" aria-label="Answer to ${open_.id}" placeholder="Answer in your own words" .value=${draft} @input=${(event) => { draft = event.target.value; redraw(); }}></textarea>
          <button type="submit" class="primary" ?disabled=${isBusy(key) || !draft.trim()}>Answer</button>
        </form>
      </div></div></section>`;
  }

  // -- summary -------------------------------------------------------------------------------------

  function summary(seen) {
    const { task } = seen;
    return html`<div class="columns">
      <div>
        ${section("brief", "Brief", 0, task.description ? html`<p class="text">${task.description}</p>` : html`<p class="quiet">Its title says it all.</p>`)}
        ${criteria(seen)}
        ${requests(seen)}
      </div>
      <div>
        ${neighbours("depends", "Waits for", seen.depends_on)}
        ${neighbours("blocks", "Waits for it", seen.blocks)}
        ${atWork(seen)}
        <dl class="facts section">
          ${task.branch ? html`<dt>Branch</dt><dd class="mono">${task.branch}</dd>` : nothing}
          ${task.base ? html`<dt>Began at</dt><dd class="mono">${short(task.base)}</dd>` : nothing}
          ${task.paths.length ? html`<dt>Paths</dt><dd class="mono">${task.paths.join(", ")}</dd>` : nothing}
          <dt>Created</dt><dd>${moment(task.created_at)}</dd>
        </dl>
      </div>
    </div>`;
  }

  function criteria({ criteria: list }) {
    if (!list.length) return nothing;
    const met = list.filter((one) => one.met_by).length;
    return section("criteria", "Acceptance criteria", `${met} of ${list.length}`, html`<ul class="list">${list.map((one) => html`<li class="line" data-row tabindex="-1" data-criterion=${one.number}>
      <span class="position">${one.number}</span><span class="grow">${one.text}</span>
      ${one.met_by ? badge("ok", "check", `met, says ${one.met_by}`) : badge("quiet", "dashed", "nobody has said so")}
    </li>`)}</ul>`);
  }

  function requests({ merge_requests: list }) {
    if (!list.length) return nothing;
    return section("requests", "Merge requests", list.length, html`<ul class="list">${repeat([...list].reverse(), ({ request }) => request.id, ({ request, status }) => html`<li class="line" data-row tabindex="-1" data-request=${request.id}>
      <span class="two grow"><a data-open href="#/train/${request.id}"><span class="id">${request.id}</span> ${withoutCommand(status)}</a>${request.summary ? html`<span class="quiet text">${request.summary}</span>` : nothing}</span>
      <span class="mono quiet">${short(request.landed_commit ?? request.commit)}</span>${age(request.updated_at)}
    </li>`)}</ul>`);
  }

  function atWork({ sessions }) {
    const here = sessions.filter((one) => LIVE.has(one.state) || one.state === "parked" || one.state === "backoff");
    if (!here.length) return nothing;
    return section("sessions", "At work", here.length, html`<ul class="list">${repeat(here, (one) => one.id, (stored) => {
      const one = { ...stored, ...state.overview?.sessions.find((other) => other.id === stored.id) };
      return html`<li class="line" data-row tabindex="-1" data-session=${one.name}>
        <span class="two grow"><span><strong>${one.name}</strong> <span class="quiet">${words(one.state)}, ${one.is_turn_active ? "in a turn" : "at rest"}, heard ${age(one.heard_at)} ago</span></span>
          <span class="quiet clip" title=${one.last_line}>${one.last_line}</span>${contextBar(one.context_tokens, one.context_window)}</span>
        ${one.has_log ? html`<button type="button" data-open @click=${() => read(one.id)}>Transcript</button>` : nothing}
      </li>`;
    })}</ul>`);
  }

  // -- changes ---------------------------------------------------------------------------------------

  function changes() {
    diff ??= new Diff(id);
    return html`<div class="section">${diff.render()}</div>`;
  }

  // -- transcript ------------------------------------------------------------------------------------

  function read(session) {
    if (chosen !== session) {
      transcript?.close();
      transcript = null;
    }
    chosen = session;
    choose("transcript");
  }

  function transcripts({ sessions }) {
    const logged = sessions.filter((one) => one.has_log);
    if (!logged.length) return html`<div class="section">${empty("No transcript yet", "No session has begun to work on this.")}</div>`;
    if (!logged.some((one) => one.id === chosen)) chosen = (logged.findLast((one) => LIVE.has(one.state)) ?? logged.at(-1)).id;
    if (transcript?.session !== chosen) {
      transcript?.close();
      transcript = new Transcript(chosen);
    }
    const name = logged.find((one) => one.id === chosen).name;
    return html`<div class="section">
      ${logged.length > 1
        ? html`<p class="tools"><label for="which">Session</label><select id="which" @change=${(event) => read(event.target.value)}>${logged.map((one) => html`<option value=${one.id} ?selected=${one.id === chosen}>${one.name}, ${clock(one.created_at, serverNow())}${one.end ? `, ${words(one.end)}` : ""}</option>`)}</select></p>`
        : nothing}
      ${transcript.render(name)}
    </div>`;
  }

  // -- history ---------------------------------------------------------------------------------------

  function history(seen) {
    snapshots ??= asked("list_snapshots", { task: id });
    const parts = [attempts(seen), handoffs(seen), notes(seen), answered(seen), late(seen), kept()].filter((one) => one !== nothing);
    return parts.length ? parts : html`<div class="section">${empty("Nothing has happened yet", "Attempts, handoffs, answers and snapshots come here.")}</div>`;
  }

  function attempts({ attempts: list, sessions }) {
    if (!list.length) return nothing;
    const byId = new Map(sessions.map((one) => [one.id, one]));
    return section("attempts", "Attempts", list.length, html`<ol class="list">${list.map((one, index) => {
      const session = byId.get(one.session_id);
      const until = one.ended_at ? Date.parse(one.ended_at) : serverNow();
      return html`<li class="line" data-row tabindex="-1" data-attempt=${index + 1}>
        <span class="position">${index + 1}</span>
        <span class="two grow"><span><strong>${one.session}</strong> ${one.end ? (FAILED.has(one.end) ? badge("bad", "warn", words(one.end)) : badge("quiet", "ring", words(one.end))) : badge("run", "half", "at work")}</span>${one.end_detail ? html`<span class="quiet">${one.end_detail}</span>` : nothing}</span>
        <span class="num quiet">${duration(until - Date.parse(one.started_at))}</span>${moment(one.started_at)}
        ${session ? html`<span class="num" title="of the whole session">${money(session.cost_usd)}</span>` : nothing}
        ${session?.has_log ? html`<button type="button" class="bare" data-open @click=${() => read(one.session_id)}>Transcript</button>` : nothing}
      </li>`;
    })}</ol>`);
  }

  function handoffs({ handoffs: list, sessions }) {
    if (!list.length) return nothing;
    const names = new Map(sessions.map((one) => [one.id, one.name]));
    const fields = [["progress", "Done"], ["remaining", "Remaining"], ["decisions", "Decisions"], ["pitfalls", "Pitfalls"], ["next_step", "Next step"]];
    return section("handoffs", "Handoffs", list.length, html`<div class="list">${[...list].reverse().map((one, index) => html`<details ?open=${index === 0} data-handoff=${one.number}>
      <summary data-row tabindex="0"><span class="grow">${one.by_server ? html`The server, in the place of ${names.get(one.session_id) ?? "a session"}` : (names.get(one.session_id) ?? "a session")}${one.met.length ? html` <span class="quiet">says criteria ${one.met.join(", ")} are met</span>` : nothing}</span>${moment(one.created_at)}</summary>
      <dl class="facts fold">${fields.filter(([name]) => one[name]).map(([name, label]) => html`<dt>${label}</dt><dd class="text">${one[name]}</dd>`)}</dl>
    </details>`)}</div>`);
  }

  function notes({ repair_notes: list }) {
    if (!list.length) return nothing;
    return section("notes", "Sent back", list.length, html`<div class="list">${[...list].reverse().map((one, index) => html`<details ?open=${index === 0}>
      <summary data-row tabindex="0">${badge("wait", "warn", "")}<span class="grow">${one.reason}</span>${idLink(one.merge_request_id)}${moment(one.created_at)}</summary>
      <div class="fold"><p class="text">${one.detail || "No more was said."}</p></div>
    </details>`)}</div>`);
  }

  function answered({ questions }) {
    const list = questions.filter((one) => one.state !== "open");
    if (!list.length) return nothing;
    return section("answers", "Questions", list.length, html`<ul class="list">${list.map((one) => html`<li class="line" data-row tabindex="-1" data-question=${one.id}>
      <span class="two grow"><span class="text">${one.text}</span><span class="text quiet">${one.answer === null ? words(one.state) : html`→ ${one.answer} (${one.answered_by})`}</span></span><span class="id">${one.id}</span>${moment(one.asked_at)}
    </li>`)}</ul>`);
  }

  function late({ late_work: list }) {
    if (!list.length) return nothing;
    return section("late", "Committed too late", list.length, html`<ul class="list">${list.map((one) => html`<li class="line" data-row tabindex="-1">
      <span class="two grow"><span>${one.subject}</span><span class="quiet">${one.files.join(", ")}; snapshot ${one.snapshot}</span></span><span class="mono quiet">${short(one.commit)}</span>${moment(one.created_at)}
    </li>`)}</ul>`);
  }

  function kept() {
    const list = snapshots.value;
    if (!list) return snapshots.error ? refused(snapshots.error) : html`<p class="quiet section" role="status">Listing snapshots…</p>`;
    if (!list.length) return nothing;
    const show = (number) => {
      snapshotDiff?.diff.close();
      snapshotDiff = snapshotDiff?.number === number ? null : { number, diff: new Diff(id, number) };
      redraw();
    };
    return section("snapshots", "Snapshots", list.length, html`<ul class="list">${repeat(list, (one) => one.number, (one) => html`<li data-snapshot=${one.number}>
      <div class="line" data-row tabindex="-1"><span class="position">${one.number}</span><span class="grow">${one.reason}${one.session ? html` <span class="quiet">of ${one.session}</span>` : nothing}</span><span class="quiet">${count(one.files, "file")}</span>${moment(one.at)}
        <button type="button" data-open aria-expanded=${snapshotDiff?.number === one.number} @click=${() => show(one.number)}>Changes</button></div>
      ${snapshotDiff?.number === one.number ? html`<div class="fold">${snapshotDiff.diff.render()}<p class="quiet">Write its files into a folder: <code>sf restore ${id} --to DIR</code></p></div>` : nothing}
    </li>`)}</ul>`);
  }

  function neighbours(name, label, list) {
    if (!list.length) return nothing;
    return section(name, label, list.length, html`<ul class="list">${list.map((one) => html`<li class="line" data-row tabindex="-1" data-neighbour=${one.id}><a class="grow clip" data-open href="#/task/${one.id}"><span class="id">${one.id}</span> ${one.title}</a>${taskBadge(one.standing)}</li>`)}</ul>`);
  }
}

function section(name, label, number, body) {
  return html`<section class="section" aria-labelledby="h-${name}"><h2 id="h-${name}">${label} ${number ? html`<span class="num">${number}</span>` : nothing}</h2>${body}</section>`;
}

function isCommand(text) {
  return /^sf(-launch)? /.test(text);
}

/** A sentence in which ids lead to what they name; all else is the text that it is. */
function linked(sentence) {
  return sentence.split(/\b([TMP]\d+)\b/).map((part, index) => (index % 2 && routeOf(part) ? html`<a href=${routeOf(part)}>${part}</a>` : part));
}
