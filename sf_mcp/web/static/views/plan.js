/** Plan: its tasks as a graph or as a list, how far they are, and the critical path. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { guard } from "../vendor/lit-html/directives/guard.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { act } from "../actions.js";
import { count, duration, withoutCommand, words } from "../format.js";
import { badge, button, empty, icon, idLink, progressBar, refused, reprioritise, taskBadge, taskLook } from "../parts.js";
import { asked, redraw, state } from "../state.js";
import { Graph } from "./graph.js";

const MOST_DRAWN = 1500;
const ROWS = 200;
const MODE = "plan-mode";
const DONE = new Set(["merged", "closed", "cancelled"]);
const ORDER = ["stuck", "waiting", "claimed", "in_review", "ready", "blocked", "proposed", "merged", "closed", "cancelled"];
const DEFAULT_MINUTES = 30;

const COLUMNS = {
  standing: { label: "State", of: (one) => ORDER.indexOf(one.standing) },
  id: { label: "Id", of: (one) => Number(one.id.slice(1)) },
  title: { label: "Title", of: (one) => one.title.toLowerCase() },
  priority: { label: "Priority", of: (one) => one.effective_priority },
  estimate: { label: "Estimate", of: (one) => one.estimate_minutes ?? DEFAULT_MINUTES },
  session: { label: "At work", of: (one) => one.session || "~" },
};

function chosenMode() {
  try {
    const chosen = localStorage.getItem(MODE);
    if (chosen) return chosen;
  } catch {
    // Then as the width suggests.
  }
  return matchMedia("(max-width: 720px)").matches ? "list" : "graph";
}

export function open(argument) {
  const shown = asked("show_plan", { plan: argument });
  const graph = new Graph();
  let mode = chosenMode();
  let search = "";
  let standing = "";
  let hidesDone = null; // null: as the size suggests
  let sort = { by: "standing", isDown: false };
  let rows = ROWS;
  let seen = null; // the answer that the graph has been told of
  let before = ""; // what the overview said of plans

  const isHidingDone = (plan) => hidesDone ?? plan.tasks.length > MOST_DRAWN;

  function matches(one) {
    const text = search.trim().toLowerCase();
    return (!standing || one.standing === standing) && (!text || one.id.toLowerCase() === text || one.title.toLowerCase().includes(text) || one.session.toLowerCase() === text);
  }

  function tell(plan) {
    const key = `${isHidingDone(plan)} ${search} ${standing}`;
    if (seen?.plan === plan && seen.key === key) return;
    const tasks = isHidingDone(plan) ? plan.tasks.filter((one) => !DONE.has(one.standing)) : plan.tasks;
    const ids = new Set(tasks.map((one) => one.id));
    seen = { plan, key, tasks };
    if (mode !== "graph" || tasks.length > MOST_DRAWN) return;
    graph.update(tasks, plan.edges.filter(([a, b]) => ids.has(a) && ids.has(b)), plan.critical_path);
    graph.highlight(search.trim() || standing ? new Set(tasks.filter(matches).map((one) => one.id)) : null);
  }

  function choose(next) {
    mode = next;
    seen = null;
    try {
      localStorage.setItem(MODE, next);
    } catch {
      // It then lasts as long as the view.
    }
    redraw();
  }

  function find(event) {
    event.preventDefault();
    const first = seen?.tasks.find(matches);
    if (first && mode === "graph") graph.show(first.id);
    else if (first) location.hash = `#/task/${first.id}`;
  }

  const view = {
    get title() {
      const [only] = argument ? (shown.value?.plans ?? []) : [];
      return only ? `${only.id} ${only.title}` : argument || "Plan";
    },
    onEvents: () => shown.refresh(),
    onOverview() {
      // Who is at work can change without an event.
      const now = JSON.stringify([state.overview.plans, state.overview.counts, state.overview.sessions.map((one) => [one.name, one.subject])]);
      if (before && now !== before) shown.refresh();
      before = now;
    },
    keys: {
      "+": () => graph.zoomBy(1),
      "-": () => graph.zoomBy(-1),
      0: () => graph.zoomTo(1),
      f: () => graph.fit(),
    },
    close() {
      shown.close();
      graph.close();
    },
    render() {
      const plan = shown.value;
      if (shown.error && !plan) return refused(shown.error);
      if (!plan) return html`<p class="quiet" role="status">Looking at the plan…</p>`;
      tell(plan);
      return html`${shown.error ? refused(shown.error) : nothing}${headline(plan)}${plan.tasks.length ? html`${controls(plan)}${mode === "graph" ? picture(plan) : list(plan)}` : nowhere(plan)}`;
    },
  };
  return view;

  // -- above -------------------------------------------------------------------------------------

  function headline(plan) {
    const own = plan.tasks.filter((one) => !one.is_outside);
    const done = own.filter((one) => DONE.has(one.standing)).length;
    const [only] = plan.plans;
    const minutes = plan.critical_path.reduce((sum, id) => sum + (plan.tasks.find((one) => one.id === id)?.estimate_minutes ?? DEFAULT_MINUTES), 0);
    return html`<div class="headline" data-plan>
        ${argument && only ? badge(only.state === "active" ? "run" : "quiet", only.state === "draft" ? "dashed" : "ring", only.state) : html`<span>${count(plan.plans.length, "unfinished plan")}</span>`}
        <span class="fact"><strong class="num">${done}</strong> of ${count(own.length, "task")} ended</span>
        ${argument && only?.state === "draft" ? button("Activate", `plan ${only.id}`, () => act(`plan ${only.id}`, "activate_plan", { plan: only.id }, `${only.id} is active.`), { kind: "primary" }) : nothing}
      </div>
      ${own.length ? html`<div class="plan-progress">${progressBar(done, own.length)}</div>` : nothing}
      ${argument && only?.description ? html`<p class="lede quiet">${only.description}</p>` : nothing}
      ${plan.critical_path.length > 1
        ? html`<p class="path" data-path><span class="critical-mark" aria-hidden="true"></span>Critical path, about ${duration(minutes * 60_000)} by estimates:
            ${plan.critical_path.slice(0, 12).map((id, index) => html`${index ? " → " : ""}${idLink(id)}`)}${plan.critical_path.length > 12 ? html` → … ${plan.critical_path.length - 12} more` : nothing}</p>`
        : nothing}`;
  }

  function controls(plan) {
    const plans = (state.overview?.plans ?? []).filter((one) => one.state === "active" || one.state === "draft" || one.id === argument);
    return html`<div class="tools">
      <div class="pair" role="group" aria-label="Show as">
        <button type="button" aria-pressed=${mode === "graph"} @click=${() => choose("graph")}>Graph</button><button type="button" aria-pressed=${mode === "list"} @click=${() => choose("list")}>List</button>
      </div>
      <form role="search" @submit=${find}><input type="search" data-search aria-label="Search tasks" placeholder="Search: title, T12, worker-2" .value=${search} @input=${(event) => { search = event.target.value; rows = ROWS; redraw(); }} /></form>
      ${plans.length > 1 || argument
        ? html`<select aria-label="Plan" @change=${(event) => { location.hash = event.target.value ? `#/plan/${event.target.value}` : "#/plan"; }}>
            <option value="" ?selected=${!argument}>All unfinished plans</option>
            ${plans.map((one) => html`<option value=${one.id} ?selected=${one.id === argument}>${one.id} ${one.title}</option>`)}
          </select>`
        : nothing}
      <label class="check"><input type="checkbox" .checked=${isHidingDone(plan)} @change=${(event) => { hidesDone = event.target.checked; redraw(); }} />Hide what has ended</label>
      ${mode === "graph" ? zooms() : nothing}
    </div>
    ${legend(plan)}`;
  }

  function zooms() {
    return html`<div class="pair push" role="group" aria-label="Zoom">
      <button type="button" title="Smaller (-)" aria-label="Zoom out" @click=${() => graph.zoomBy(-1)}>−</button><button type="button" title="As large as text (0)" aria-label="Zoom to 100 %" @click=${() => graph.zoomTo(1)}><span class="num">${Math.round(graph.zoom * 100)} %</span></button><button type="button" title="Larger (+)" aria-label="Zoom in" @click=${() => graph.zoomBy(1)}>+</button><button type="button" title="All of it (f)" @click=${() => graph.fit()}>Fit</button>
    </div>`;
  }

  /** The states with their numbers: what the colours mean, and a filter. */
  function legend(plan) {
    const present = ORDER.filter((name) => plan.counts[name]);
    return html`<div class="legend" role="group" aria-label="States">
      ${present.map((name) => {
        const { shape, tone } = taskLook(name);
        return html`<button type="button" class="bare ${tone}" aria-pressed=${standing === name} title=${standing === name ? "Show all states" : `Show only ${words(name)}`} @click=${() => { standing = standing === name ? "" : name; rows = ROWS; redraw(); }}>${icon(shape)}<span>${words(name)}</span> <span class="num">${plan.counts[name]}</span></button>`;
      })}
      ${mode === "graph" && plan.critical_path.length > 1 ? html`<span class="fact quiet"><span class="critical-mark" aria-hidden="true"></span>critical path</span>` : nothing}
    </div>`;
  }

  function nowhere(plan) {
    if (!plan.plans.length) return empty("No plan is under way", "Talk one over with a director (sf-launch director), or write it yourself:", 'sf plan create --title "Sprint 14"');
    return empty("No tasks yet", "Add the first one with “New task”, or import a list:", "sf plan import tasks.md");
  }

  // -- graph and list --------------------------------------------------------------------------------

  function picture(plan) {
    if (!seen.tasks.length) return empty("Everything has ended", "Nothing is left of what is shown here.");
    if (seen.tasks.length > MOST_DRAWN) return empty(`${count(seen.tasks.length, "task")} are too many to draw`, "The list has them all; a single plan may be small enough.");
    return graph.render();
  }

  function list(plan) {
    const { of } = COLUMNS[sort.by];
    return guard([plan, search, standing, isHidingDone(plan), sort, rows, [...state.busy].join()], () => {
      const found = seen.tasks.filter(matches).sort((a, b) => {
        const [x, y] = [of(a), of(b)];
        const order = x < y ? -1 : x > y ? 1 : Number(a.id.slice(1)) - Number(b.id.slice(1));
        return sort.isDown ? -order : order;
      });
      if (!found.length) return empty("No task matches", "Change what is searched for, or show all states.");
      return html`<div class="list tasks-list"><table class="tasks">
          <thead><tr>${Object.entries(COLUMNS).map(([by, { label }]) => html`<th scope="col" class="of-${by}" aria-sort=${sort.by === by ? (sort.isDown ? "descending" : "ascending") : nothing}><button type="button" class="bare" @click=${() => { sort = { by, isDown: sort.by === by && !sort.isDown }; redraw(); }}>${label}${sort.by === by ? (sort.isDown ? " ↓" : " ↑") : ""}</button></th>`)}<th scope="col" class="of-does"><span class="unseen">Actions</span></th></tr></thead>
          <tbody>${repeat(found.slice(0, rows), (one) => one.id, row)}</tbody>
        </table></div>
        ${found.length > rows ? html`<p class="row section"><button type="button" @click=${() => { rows += ROWS; redraw(); }}>${count(Math.min(ROWS, found.length - rows), "more task", "more tasks")} of ${found.length - rows}</button></p>` : nothing}`;
    });
  }
}

function row(one) {
  const isOver = DONE.has(one.standing);
  return html`<tr data-row tabindex="-1" data-task=${one.id} class=${one.is_critical ? "critical" : ""}>
    <td class="of-standing">${taskBadge(one.standing)}</td>
    <td class="of-id"><a class="id" data-open href="#/task/${one.id}">${one.id}</a></td>
    <td class="of-title"><a href="#/task/${one.id}" tabindex="-1">${one.title}</a>${one.is_critical ? html` <span class="critical-mark" role="img" aria-label="on the critical path" title="on the critical path"></span>` : nothing}${one.is_outside ? html` <span class="quiet">of ${idLink(one.plan_id)}</span>` : nothing}${one.merge_status ? html`<span class="quiet block">${idLink(one.merge_request)} ${withoutCommand(one.merge_status)}</span>` : nothing}</td>
    <td class="of-priority num">${one.effective_priority}${one.effective_priority === one.priority ? nothing : html`<span class="quiet" title="its own priority; what waits for it is more urgent"> (${one.priority})</span>`}</td>
    <td class="of-estimate num">${one.estimate_minutes ? duration(one.estimate_minutes * 60_000) : html`<span class="quiet">–</span>`}</td>
    <td class="of-session">${one.session || html`<span class="quiet">–</span>`}</td>
    <td class="of-does">${isOver ? nothing : button("Priority…", `task ${one.id}`, () => reprioritise(one.id, one.priority), { kind: "bare", title: `Priority of ${one.id}` })}</td>
  </tr>`;
}
