/** Train: what lands next and when, what is being checked, what has landed; `M7`: that one. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { clock, count, duration, short, withoutCommand, words } from "../format.js";
import { age, badge, empty, icon, idLink, moment, refused } from "../parts.js";
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
      const { queue, trials, landed, slots, used } = train.value;
      return html`${train.error ? refused(train.error) : nothing}
        ${nextLine(queue)}
        <div class="columns">
          <div>${queueOf(queue)}</div>
          <div>${checking(trials, slots, used)}${landedLately(landed)}</div>
        </div>`;
    },
  };
}

/** When something is expected: in how long, and at what time. */
function expected(at) {
  if (!at) return html`<span class="quiet">not known yet</span>`;
  const span = Date.parse(at) - serverNow();
  return html`<span class="num" title="expected at ${clock(at)}">${span > 0 ? `in ${duration(span)}` : "any moment"}</span>`;
}

function nextLine(queue) {
  const { target } = state.overview ?? {};
  const color = !target ? nothing : target.is_green === null ? badge("quiet", "dashed", "not checked") : target.is_green ? badge("ok", "check", "green") : badge("bad", "cross", "red");
  const [first] = queue;
  return html`<p class="headline" data-next>
    ${target ? html`<span class="fact"><strong>${target.branch}</strong> <span class="mono">${short(target.commit)}</span> ${color}</span>` : nothing}
    ${first ? html`<span>Next: ${idLink(first.id)} <strong>${first.title}</strong>, ${withoutCommand(first.status)}; lands ${expected(first.expected_at)}</span>` : html`<span>Nothing is on its way to land.</span>`}
  </p>`;
}

function queueOf(queue) {
  return html`<section class="section" aria-labelledby="queue">
    <h2 id="queue">Queue <span class="num">${queue.length}</span></h2>
    ${queue.length
      ? html`<ol class="list">${repeat(queue, (one) => one.id, (one) => html`<li class="line" data-row tabindex="-1" data-queued=${one.id}>
          <span class="position">${one.position}</span>
          <span class="two grow"><a class="clip" data-open href="#/train/${one.id}"><span class="id">${one.id}</span> ${one.title}</a><span class="quiet clip">${withoutCommand(one.status)}</span></span>
          ${idLink(one.task_id)}
          <span class="expected">${expected(one.expected_at)}</span>
        </li>`)}</ol>`
      : empty("The train is empty", "Finished work comes here, is checked on the merged tree, and lands.")}
  </section>`;
}

const OUTCOMES = {
  running: ["run", "half"],
  passed: ["ok", "check"],
  failed: ["bad", "cross"],
};

function checking(trials, slots, used) {
  return html`<section class="section" aria-labelledby="checking">
    <h2 id="checking">Being checked <span class="slots" role="img" aria-label="${used} of ${count(slots, "slot")} in use">${Array.from({ length: slots }, (_, index) => html`<span class="slot ${index < used ? "used" : ""}"></span>`)}</span></h2>
    ${trials.length
      ? html`<ul class="list">${repeat(trials, (one) => one.number, (one) => {
          const [tone, shape] = OUTCOMES[one.outcome] ?? ["quiet", "ring"];
          return html`<li class="line" data-row tabindex="-1" data-trial=${one.number}>
            <span class="two grow"><span class="row">${one.requests.map((id) => idLink(id))}</span>
              ${one.checks?.length ? html`<span class="row">${one.checks.map(verdict)}</span>` : nothing}</span>
            ${badge(tone, shape, words(one.outcome))}<span class="quiet">${age(one.started_at)}</span>
          </li>`;
        })}</ul>`
      : empty("Nothing is being checked", html`${count(slots, "check")} can run at once.`)}
  </section>`;
}

function verdict(check) {
  const name = check.name ?? check.check;
  if (check.passed === null || check.passed === undefined) return badge("run", "half", name);
  return check.passed ? badge("ok", "check", name) : badge("bad", "cross", name);
}

function landedLately(landed) {
  if (!landed.length) return nothing;
  return html`<section class="section" aria-labelledby="landed">
    <h2 id="landed">Landed</h2>
    <ul class="list">${repeat(landed, (one) => one.id, (one) => html`<li class="line" data-row tabindex="-1" data-landed=${one.id}>
      <span class="ok badge">${icon("check")}</span>
      <a class="clip grow" data-open href="#/train/${one.id}"><span class="id">${one.id}</span> ${one.title}</a>
      <span class="mono quiet">${short(one.commit)}</span>${moment(one.landed_at ?? one.at)}
    </li>`)}</ul>
  </section>`;
}
