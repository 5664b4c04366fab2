/** One merge request: what was asked, done, checked and risked, its patch, and the decision. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { count, short, withoutCommand, words } from "../format.js";
import { age, approve, badge, button, icon, idLink, patch, refused, sendBack } from "../parts.js";
import { call } from "../server.js";
import { asked, redraw, state } from "../state.js";

const STATES = {
  open: ["run", "merge"],
  landing: ["run", "half"],
  landed: ["ok", "check"],
  sent_back: ["wait", "warn"],
  withdrawn: ["quiet", "cross"],
};

export function open(id) {
  const seen = asked("show_merge_request", { merge_request: id });
  /** Pages of the patch of one commit: `{commit, texts, next, isLoading, error}`. */
  let diff = { commit: "", texts: [], next: 0, isLoading: false, error: null };
  let status = "";

  async function loadDiff(commit) {
    if (diff.commit !== commit) diff = { commit, texts: [], next: 0, isLoading: false, error: null };
    if (diff.isLoading || diff.next === null) return;
    const mine = diff;
    mine.isLoading = true;
    mine.error = null;
    try {
      const page = await call("show_changes", { merge_request: id, start: mine.next });
      mine.texts = [...mine.texts, page.diff];
      mine.next = page.next_start;
    } catch (error) {
      mine.error = error;
    }
    mine.isLoading = false;
    redraw();
  }

  return {
    get title() {
      return seen.value ? `${seen.value.request.id} ${seen.value.task.title}` : id;
    },
    onOverview() {
      // Its status is in the overview; what else there is to see changes with it, or when it ends.
      const line = state.overview.merges.find((one) => one.id === id);
      const now = line ? `${line.state} ${line.status}` : "over";
      if (status && now !== status) seen.refresh();
      status = now;
    },
    onEvents(events) {
      if (events.some((one) => one.subject === id)) seen.refresh();
    },
    close: () => seen.close(),
    render() {
      if (seen.error && !seen.value) return refused(seen.error);
      if (!seen.value) return html`<p class="quiet" role="status">Looking at ${id}…</p>`;
      const view = seen.value;
      if (diff.commit !== view.request.commit) loadDiff(view.request.commit);
      return html`${seen.error ? refused(seen.error) : nothing}${summary(view)}${criteria(view)}${checks(view)}${risks(view)}${files(view)}${changes()}${decision(view)}`;
    },
  };

  function changes() {
    return html`<section class="section" aria-labelledby="changes">
      <h2 id="changes">Changes</h2>
      ${diff.error ? refused(diff.error) : nothing}
      ${diff.texts.length ? patch(diff.texts.join("\n"), `Changes of ${id}`) : html`<p class="quiet">${diff.isLoading ? "Loading…" : "None."}</p>`}
      ${diff.texts.length && diff.next !== null ? html`<p class="row section"><button type="button" ?disabled=${diff.isLoading} @click=${() => loadDiff(diff.commit)}>More of the patch</button></p>` : nothing}
    </section>`;
  }
}

function summary({ request, task, status, session, checked, steward, person }) {
  const [tone, shape] = STATES[request.state] ?? ["quiet", "ring"];
  return html`<div class="headline">
      ${badge(tone, shape, words(request.state))}
      <span>${withoutCommand(status)}</span>
      <span>of ${idLink(task.id)}</span>
      <span>by ${session}</span>
      <span>${age(request.created_at)} ago</span>
    </div>
    ${request.summary ? html`<p class="lede section">${request.summary}</p>` : nothing}
    <dl class="facts section">
      <dt>Commit</dt><dd><span class="mono">${short(request.commit)}</span> on <span class="mono">${request.branch}</span>${checked ? html`, ${checked}` : nothing}</dd>
      ${request.landed_commit ? html`<dt>Landed as</dt><dd class="mono">${short(request.landed_commit)}</dd>` : nothing}
      <dt>Steward</dt><dd>${steward}</dd>
      <dt>Person</dt><dd>${withoutCommand(person)}</dd>
    </dl>`;
}

function criteria({ criteria: list }) {
  if (!list.length) return nothing;
  return html`<section class="section" aria-labelledby="criteria"><h2 id="criteria">Acceptance criteria</h2>
    <ul class="list">${list.map((one) => html`<li class="line" data-row tabindex="-1">
      <span class="position">${one.number}</span><span class="grow">${one.text}</span>
      ${one.met_by ? badge("ok", "check", `met, says ${one.met_by}`) : badge("quiet", "dashed", "nobody has said so")}
    </li>`)}</ul></section>`;
}

function checks({ checks: list }) {
  return html`<section class="section" aria-labelledby="checks"><h2 id="checks">Checks</h2>
    ${list.length
      ? html`<ul class="list">${list.map((one) => html`<li class="line" data-row tabindex="-1">
          ${one.passed ? badge("ok", "check", one.outcome) : one.is_old ? badge("wait", "warn", `${one.outcome}, on the target too`) : badge("bad", "cross", one.outcome)}
          <span class="grow">${one.name}</span>
          ${one.is_flaky ? badge("wait", "warn", "flaky") : nothing}
          ${one.log_path && !one.passed ? html`<code class="clip">${one.log_path}</code>` : nothing}
          <span class="num quiet">${one.seconds.toFixed(1)} s</span>
        </li>`)}</ul>`
      : html`<p class="quiet">None has run yet.</p>`}</section>`;
}

function risks({ risks: list, note }) {
  if (!list.length && !note) return nothing;
  return html`<section class="section" aria-labelledby="risks"><h2 id="risks">Risks <span class="num">${list.length}</span></h2>
    ${note ? html`<p class="quiet">${note}</p>` : nothing}
    <ul class="list">${list.map((one) => html`<li class="line" data-row tabindex="-1">
      ${badge("wait", "warn", words(one.kind))}
      <span class="two grow"><span class="mono clip">${one.path}${one.line ? `:${one.line}` : ""}</span><span class="quiet">${one.text}</span></span>
    </li>`)}</ul></section>`;
}

function files({ files: list, total_files: total, added, removed }) {
  if (!total) return nothing;
  return html`<section class="section" aria-labelledby="files">
    <h2 id="files">Files <span class="num">${total}</span> <span class="num">+${added} −${removed}</span></h2>
    <ul class="list">${repeat(list, (one) => one.path, (one) => html`<li class="line" data-row tabindex="-1">
      <span class="mono grow">${one.was ? `${one.was} → ` : ""}${one.path}</span>
      <span class="quiet">${one.how}</span>
      <span class="num">${one.added === null ? "binary" : `+${one.added} −${one.removed}`}</span>
    </li>`)}</ul>
    ${total > list.length ? html`<p class="quiet">${count(total - list.length, "file")} more: <code>sf mr show</code></p>` : nothing}
  </section>`;
}

function decision({ request, risks: list, reviews }) {
  if (request.state !== "open" && request.state !== "landing") return nothing;
  const mine = reviews.filter((one) => one.role === "person").at(-1);
  const key = `decide ${request.id}`;
  return html`<div class="sticky row" role="group" aria-label="Decision">
    ${mine?.approved
      ? badge("ok", "check", `approved by ${mine.by}`)
      : button(`Approve ${short(request.commit)}`, key, () => approve(request.id, request.commit), { kind: "primary" })}
    ${button("Send back…", key, () => sendBack(request.id, request.commit))}
    ${list.length ? html`<span class="fact wait badge">${icon("warn")}${count(list.length, "risk")} above</span>` : nothing}
  </div>`;
}
