/**
 * The page: its frame, its routes, what arrives from the server.
 *
 * A view is a module of `views/` that exports `open(argument)`. That is called when the route is
 * entered and returns an object:
 *   title            what the heading and the window are called (may be a getter)
 *   render()         its template; called once per frame in which anything has changed
 *   onOverview()     a new `state.overview` is there (optional)
 *   onEvents(list)   events have happened, oldest first (optional)
 *   keys             keys of its own, as `{x: (event) => …}` (optional)
 *   close()          the route is left: let go of everything (optional)
 * What a view shows it keeps itself; it calls `redraw()` (state.js) when that has changed.
 * Rows that `j` and `k` go through have `data-row` and `tabindex="-1"`; the field for `/` has
 * `data-search`.
 */

import { html, nothing, render } from "./vendor/lit-html/lit-html.js";
import { repeat } from "./vendor/lit-html/directives/repeat.js";
import { ask, settled } from "./actions.js";
import { clock } from "./format.js";
import { KEYS, listen } from "./keys.js";
import { dialog, icon, newTask, progressBar, toasts } from "./parts.js";
import { subscribe } from "./server.js";
import { drawWith, redraw, state } from "./state.js";

const VIEWS = {
  now: { label: "Now", key: "n", shape: "bolt", load: () => import("./views/now.js") },
  plan: { label: "Plan", key: "p", shape: "half", load: () => import("./views/plan.js") },
  train: { label: "Train", key: "t", shape: "merge", load: () => import("./views/train.js") },
  log: { label: "Log", key: "l", shape: "note", load: () => import("./views/log.js") },
  task: { label: "Task", load: () => import("./views/task.js") },
};
const IN_BAR = ["now", "plan", "train", "log"];
const TICK_MILLISECONDS = 1000;

// -- routes --------------------------------------------------------------------------------------

function routeIn(hash) {
  const [name, argument = ""] = hash.replace(/^#\//, "").split("/");
  return VIEWS[name] ? { name, argument: decodeURIComponent(argument) } : { name: "now", argument: "" };
}

let opening = 0;

async function openRoute({ isFirst = false } = {}) {
  const route = routeIn(location.hash);
  const number = ++opening;
  state.view?.close?.();
  state.route = route;
  state.view = null;
  redraw();
  let view;
  try {
    const module = await VIEWS[route.name].load();
    if (number !== opening) return;
    view = module.open(route.argument);
  } catch (error) {
    if (number !== opening) return;
    view = { title: VIEWS[route.name].label, render: () => html`<p class="refused" role="alert">This view could not be loaded: ${error.message}. Reload the page.</p>` };
  }
  state.view = view;
  redraw();
  if (!isFirst) requestAnimationFrame(() => requestAnimationFrame(() => document.querySelector("#main h1")?.focus({ preventScroll: true })));
  scrollTo(0, 0);
}

export function go(hash) {
  if (location.hash === hash) openRoute();
  else location.hash = hash;
}

// -- the frame -----------------------------------------------------------------------------------

function waitingNumber() {
  return state.overview?.waiting_count ?? 0;
}

function bar(name) {
  const { label, shape, key } = VIEWS[name];
  const isHere = state.route.name === name || (name === "plan" && state.route.name === "task");
  const number = { now: waitingNumber(), train: state.overview?.merges.length ?? 0 }[name];
  return html`<a class="nav" href="#/${name}" aria-current=${isHere ? "page" : nothing} title="${label} (g ${key})">
    ${icon(shape)}<span>${label}</span>${number ? html`<span class="number ${name === "now" ? "wait" : ""}">${number}<span class="unseen">${name === "now" ? " wait for you" : " in the train"}</span></span>` : nothing}
  </a>`;
}

function linkLine() {
  const { isLive, since, isSignedOut } = state.link;
  if (isSignedOut) return html`<p class="link bad" role="status">${icon("cross")}<span>Signed out: run <code>sf open</code> in the project.</span></p>`;
  if (isLive) return html`<p class="link ok" role="status">${icon("dot")}<span>live</span></p>`;
  if (!since && !state.overview) return html`<p class="link" role="status">${icon("dashed")}<span>connecting…</span></p>`;
  const seen = state.overview ? `, what you see is of ${clock(state.overview.at, undefined, { seconds: true })}` : "";
  return html`<p class="link wait" role="status">${icon("warn")}<span>reconnecting since ${clock(since, undefined, { seconds: true })}${seen}</span></p>`;
}

const THEMES = [["", "System"], ["light", "Light"], ["dark", "Dark"]];

function chooseTheme() {
  const names = THEMES.map(([name]) => name);
  const next = names[(names.indexOf(document.documentElement.dataset.theme ?? "") + 1) % names.length];
  if (next) document.documentElement.dataset.theme = next;
  else delete document.documentElement.dataset.theme;
  try {
    localStorage.setItem("theme", next);
  } catch {
    // It then lasts as long as the page.
  }
  redraw();
}

function planLines() {
  const plans = (state.overview?.plans ?? []).filter((one) => one.state === "active" || one.state === "draft");
  if (!plans.length) return nothing;
  return html`<div class="plans">
    ${repeat(plans.slice(-6), (one) => one.id, (one) => html`<a class="plan" href="#/plan/${one.id}" aria-current=${state.route.name === "plan" && state.route.argument === one.id ? "page" : nothing}>
      <span class="clip">${one.title}</span><span class="num quiet">${one.done}/${one.total}</span>${progressBar(one.done, one.total)}
    </a>`)}
  </div>`;
}

function frame() {
  const view = state.view;
  const theme = THEMES.find(([name]) => name === (document.documentElement.dataset.theme ?? ""))[1];
  const isStale = !state.link.isLive && (state.link.since || state.link.isSignedOut);
  return html`
    <a class="skip" href="#main" @click=${(event) => { event.preventDefault(); document.querySelector("#main h1")?.focus(); }}>To the content</a>
    <div class="frame ${isStale ? "stale" : ""}">
      <header class="side">
        <p class="project"><img src="/static/icon.svg" alt="" width="20" height="20" /><span class="clip">${state.overview?.project ?? "Stoneforge"}</span></p>
        <nav aria-label="Views">${IN_BAR.map(bar)}</nav>
        ${planLines()}
        <div class="foot">
          ${linkLine()}
          <div class="row">
            <button type="button" class="bare" @click=${chooseTheme} title="Colours: ${theme}">${icon("half")}<span>${theme}</span></button>
            <button type="button" class="bare" @click=${help} title="Keys (?)"><kbd>?</kbd><span>Keys</span></button>
          </div>
        </div>
      </header>
      <main id="main" data-route=${view ? [state.route.name, state.route.argument].filter(Boolean).join("/") : nothing}>
        <div class="top"><h1 tabindex="-1">${view?.title ?? VIEWS[state.route.name].label}</h1><div class="row">${view?.bar?.() ?? nothing}<button type="button" @click=${() => newTask(planHere())} title="New task (c)">New task</button></div></div>
        ${view ? view.render() : html`<p class="quiet" role="status">Loading…</p>`}
      </main>
    </div>
    ${toasts()}${dialog()}`;
}

/** The plan that is looked at: new tasks go there. */
function planHere() {
  return state.route.name === "plan" ? state.route.argument : "";
}

function help() {
  return ask({
    title: "Keys",
    text: html`<dl class="keys">${KEYS.map(([key, what]) => html`<div><dt>${key.split(" ").map((one) => (one === "/" && key !== "/" ? " or " : html`<kbd>${one}</kbd>`))}</dt><dd>${what}</dd></div>`)}</dl>`,
    confirm: "Close",
  });
}

function draw() {
  render(frame(), document.getElementById("page"));
  const waiting = waitingNumber();
  const project = state.overview ? ` · ${state.overview.project}` : "";
  document.title = `${waiting ? `(${waiting}) ` : ""}${state.view?.title ?? "Stoneforge"}${project}`;
  const open = document.querySelector("dialog:not([open])");
  if (open) open.showModal();
}

// -- keys ----------------------------------------------------------------------------------------

function search() {
  const field = document.querySelector("[data-search]");
  if (field) {
    field.focus();
    field.select?.();
    return;
  }
  ask({
    title: "Go to",
    fields: [{ name: "id", label: "Task, merge request or plan", kind: "line", isRequired: true, hint: "Its id, as T12, M3, P1." }],
    confirm: "Go",
  }).then((given) => given && goToId(given.id));
}

function goToId(text) {
  const id = text.trim().toUpperCase();
  const name = { T: "task", M: "train", P: "plan" }[id[0]];
  if (name && /^[TMP]\d+$/.test(id)) go(`#/${name}/${id}`);
  else go(`#/log/${encodeURIComponent(text.trim())}`);
}

listen({
  go(key) {
    const name = IN_BAR.find((one) => VIEWS[one].key === key);
    if (!name) return false;
    go(`#/${name}`);
    return true;
  },
  help,
  search,
  create: () => newTask(planHere()),
  viewKeys: () => state.view?.keys,
  escape() {
    if (state.toasts.length) {
      state.toasts = [];
      redraw();
    } else if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
  },
});

// -- what arrives --------------------------------------------------------------------------------

drawWith(draw);
addEventListener("hashchange", () => openRoute());
openRoute({ isFirst: true });
subscribe({
  onOverview(overview) {
    state.overview = overview;
    state.clockOffset = Date.parse(overview.at) - Date.now();
    settled();
    state.view?.onOverview?.();
    redraw();
  },
  onEvents(events) {
    state.view?.onEvents?.(events);
  },
  onLink(link) {
    state.link = { isLive: link.isLive, since: link.since, isSignedOut: Boolean(link.refusal?.isSignedOut) };
    redraw();
  },
});
setInterval(() => {
  if (!document.hidden) redraw();
}, TICK_MILLISECONDS);
