/** Train: what lands next and when, what is being checked, what has landed; `M7`: that one. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { clock, count, duration, short, withoutCommand, words } from "../format.js";
import { age, badge, empty, greenness, idLink, moment, refused } from "../parts.js";
import { asked, serverNow, state } from "../state.js";
import { open as openMergeRequest } from "./merge.js";

export function open(argument) {
  return argument ? openMergeRequest(argument) : openTrain();
}

function openTrain() {
  const train = asked("show_train", {});
  return {
    title: "Train",
    onOverview: () => train.refresh(),
    close: () => train.close(),
    render() {
      if (train.error && !train.value) return refused(train.error);
      if (!train.value) return html`<p class="quiet" role="status">Looking at the train…</p>`;
      const view = train.value;
      const isRunning = (one) => one.outcome === "running";
      return html`${train.error ? refused(train.error) : nothing}
        ${headline(view)}
        <div class="columns">
          ${queueOf(view.queue)}
          <div>${checking(view.trials.filter(isRunning), view)}${verdicts(view.trials.filter((one) => !isRunning(one)))}</div>
        </div>
        ${landedLately(view.landed)}`;
    },
  };
}

/** When something is expected: in how long, and at what time. */
function expected(at) {
  if (!at) return html`<span class="quiet" title="what it waits for has no known end">no time yet</span>`;
  const span = Date.parse(at) - serverNow();
  return html`<span class="num" title="expected at ${clock(at)}">${span > 0 ? `in ${duration(span)}` : "any moment"}</span>`;
}

function headline({ next, queue, stopped }) {
  const { target } = state.overview ?? {};
  const first = queue.find((one) => next.includes(one.id)) ?? queue.find((one) => one.may_land) ?? queue[0];
  return html`<div class="headline" data-next>
    ${target ? html`<span class="fact"><strong>${target.branch}</strong> <span class="mono">${short(target.commit)}</span> ${greenness(target.is_green)}</span>` : nothing}
    ${stopped ? badge("wait", "pause", `nothing lands: ${stopped}`) : nothing}
    ${next.length > 1
      ? html`<span>Lands next, together: ${next.map((id) => html`${idLink(id)} `)} ${expected(first?.expected_at)}</span>`
      : first
        ? html`<span>${next.length ? "Lands next" : "First in the queue"}: ${idLink(first.id)} <strong>${first.title}</strong>, ${withoutCommand(first.status)}; ${expected(first.expected_at)}</span>`
        : html`<span>Nothing is on its way to land.</span>`}
  </div>`;
}

function queueOf(queue) {
  return html`<section class="section" aria-labelledby="queue">
    <h2 id="queue">Queue <span class="num">${queue.length}</span></h2>
    ${queue.length
      ? html`<ol class="list">${repeat(queue, (one) => one.id, (one) => html`<li class="line" data-row tabindex="-1" data-queued=${one.id}>
          <span class="position">${one.position}</span>
          <span class="two grow"><a class="clip" data-open href="#/train/${one.id}"><span class="id">${one.id}</span> ${one.title}</a>
            <span class="item-facts"><span>${withoutCommand(one.status)}</span><span>of ${idLink(one.task_id)}</span>
            ${one.behind > 1 ? html`<span>holds up <span class="num">${one.behind}</span></span>` : nothing}
            ${one.trials ? html`<span>${count(one.trials, "trial")}</span>` : nothing}</span></span>
          ${one.is_next ? badge("ok", "merge", "next") : nothing}
          <span class="expected">${expected(one.expected_at)}</span>
        </li>`)}</ol>`
      : empty("The train is empty", "Finished work comes here, is checked on the merged tree, and lands.")}
  </section>`;
}

const OUTCOMES = {
  running: ["run", "half"],
  passed: ["ok", "check"],
  failed: ["bad", "cross"],
  conflict: ["bad", "cross"],
};

function trial(one) {
  const [tone, shape] = OUTCOMES[one.outcome] ?? ["quiet", "ring"];
  const isRunning = one.outcome === "running";
  return html`<li class="line" data-row tabindex="-1" data-trial=${one.number}>
    <span class="two grow"><span class="row">${one.requests.map((id) => idLink(id))}${one.is_full ? nothing : html`<span class="quiet">a part of the checks</span>`}</span>
      ${one.checks.length ? html`<span class="item-facts">${one.checks.map(verdict)}</span>` : nothing}</span>
    ${badge(tone, shape, words(one.outcome))}
    <span class="two"><span>${isRunning ? age(one.started_at) : moment(one.ended_at ?? one.started_at)}</span>
      ${isRunning && one.expected_at ? expected(one.expected_at) : nothing}</span>
  </li>`;
}

function checking(trials, { slots, used }) {
  return html`<section class="section" aria-labelledby="checking">
    <h2 id="checking">Being checked <span class="slots" role="img" aria-label="${used} of ${count(slots, "slot")} in use">${Array.from({ length: slots }, (_, index) => html`<span class="slot ${index < used ? "used" : ""}"></span>`)}</span></h2>
    ${trials.length ? html`<ul class="list">${repeat(trials, (one) => one.number, trial)}</ul>` : html`<p class="quiet">Nothing at the moment; ${count(slots, "slot is", "slots are")} free.</p>`}
  </section>`;
}

function verdicts(trials) {
  if (!trials.length) return nothing;
  return html`<section class="section" aria-labelledby="verdicts">
    <h2 id="verdicts">Verdicts</h2>
    <ul class="list">${repeat(trials, (one) => one.number, trial)}</ul>
  </section>`;
}

function verdict(check) {
  const title = check.outcome;
  const look = check.passed === null ? ["quiet", "ring"] : check.passed ? ["ok", "check"] : ["bad", "cross"];
  return html`<span title=${title}>${badge(...look, check.name)}${check.is_flaky ? badge("wait", "warn", "flaky") : nothing}</span>`;
}

/** Why the target moved, where it was no merge of the train's. */
const MOVES = {
  initial: "where the fleet began",
  upstream: "commits from upstream",
  undo: "somebody else's move was undone",
};

function landedLately(landed) {
  if (!landed.length) return nothing;
  return html`<section class="section" aria-labelledby="landed">
    <h2 id="landed">Landed</h2>
    <ul class="list">${repeat(landed, (one) => one.number, (one) => html`<li class="line" data-row tabindex="-1" data-landed=${one.number}>
      ${greenness(one.is_green)}
      <span class="two grow">${one.requests.length
        ? one.requests.map((id, index) => html`<a class="clip" data-open href="#/train/${id}"><span class="id">${id}</span> ${one.titles[index]}</a>`)
        : html`<span class="quiet">${MOVES[one.kind] ?? words(one.kind)}</span>`}</span>
      <span class="mono quiet">${short(one.commit)}</span>${moment(one.at)}
    </li>`)}</ul>
  </section>`;
}
