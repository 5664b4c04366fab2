/** Log: what has happened, newest first and live; older events page by page. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { words } from "../format.js";
import { empty, idLink, moment, refused } from "../parts.js";
import { call } from "../server.js";
import { redraw, state } from "../state.js";

const PAGE = 100;
/** Rows on the page; further back, the newest make room. */
const MOST_ROWS = 400;
const TYPING_MILLISECONDS = 250;
const MOST_CHARACTERS = 400;
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });

export function open(subject) {
  const filter = { text: "", subject, kind: "", actor: "" };
  const kinds = new Set();
  /** Newest first. */
  let rows = [];
  let isWhole = false;
  let isLoading = false;
  let error = null;
  /** Whether the top is the newest there is, so that what happens is put there. */
  let isAtTop = true;
  let generation = 0;
  let typing = 0;
  /** What came while a page was asked for. */
  let meanwhile = [];

  async function load({ older = false } = {}) {
    if (older && isLoading) return;
    const mine = ++generation;
    isLoading = true;
    error = null;
    if (!older) meanwhile = [];
    redraw();
    try {
      const before = older && rows.length ? { before: rows.at(-1).number } : {};
      const found = await call("search_log", { ...filter, ...before, limit: PAGE });
      if (mine !== generation) return;
      isWhole = found.length < PAGE;
      if (older) {
        rows = [...rows, ...found];
        isAtTop = isAtTop && rows.length <= MOST_ROWS;
        rows = rows.slice(-MOST_ROWS);
      } else {
        rows = found;
        isAtTop = true;
      }
      for (const one of found) kinds.add(one.kind);
    } catch (refusal) {
      if (mine !== generation) return;
      error = refusal;
    }
    isLoading = false;
    addNew(meanwhile);
    meanwhile = [];
    redraw();
  }

  function addNew(events) {
    if (!isAtTop) return;
    const newest = rows[0]?.number ?? 0;
    const fresh = events.filter((one) => one.number > newest && matches(one)).reverse();
    if (!fresh.length) return;
    for (const one of fresh) kinds.add(one.kind);
    rows = [...fresh, ...rows];
    if (rows.length > MOST_ROWS) {
      rows = rows.slice(0, MOST_ROWS);
      isWhole = false;
    }
  }

  /** The same that the server looks at. */
  function matches(event) {
    const lower = `${event.kind} ${event.actor} ${event.subject} ${JSON.stringify(event.data)}`.toLowerCase();
    const names = [event.subject, nameOf(event)];
    return (
      (!filter.text || lower.includes(JSON.stringify(filter.text).slice(1, -1).toLowerCase())) &&
      (!filter.subject || names.includes(filter.subject)) &&
      (!filter.kind || event.kind === filter.kind) &&
      (!filter.actor || event.actor === filter.actor)
    );
  }

  function change(name, { now = false } = {}) {
    return (event) => {
      filter[name] = event.target.value.trim();
      clearTimeout(typing);
      typing = setTimeout(load, now ? 0 : TYPING_MILLISECONDS);
    };
  }

  function clear() {
    Object.assign(filter, { text: "", subject: "", kind: "", actor: "" });
    load();
  }

  function filters() {
    const isFiltered = Object.values(filter).some(Boolean);
    return html`<form class="filters" role="search" @submit=${(event) => { event.preventDefault(); load(); }}>
      <div class="field"><label for="log-text">Text</label><input id="log-text" type="search" data-search .value=${filter.text} @input=${change("text")} autocomplete="off" /></div>
      <div class="field"><label for="log-subject">Subject</label><input id="log-subject" .value=${filter.subject} @input=${change("subject")} placeholder="T12, worker-2" autocomplete="off" /></div>
      <div class="field"><label for="log-kind">Kind</label><select id="log-kind" @change=${change("kind", { now: true })}>
        <option value="">any</option>
        ${[...kinds].sort().map((kind) => html`<option value=${kind} ?selected=${kind === filter.kind}>${words(kind)}</option>`)}
      </select></div>
      <div class="field"><label for="log-actor">Actor</label><input id="log-actor" .value=${filter.actor} @input=${change("actor")} placeholder="person, server" autocomplete="off" /></div>
      <button type="button" ?disabled=${!isFiltered} @click=${clear}>Clear</button>
    </form>`;
  }

  load();
  return {
    title: "Log",
    onEvents(events) {
      if (isLoading) meanwhile = [...meanwhile, ...events].slice(-MOST_ROWS);
      else addNew(events);
      redraw();
    },
    render() {
      let day = "";
      return html`${filters()}${error ? refused(error) : nothing}
        ${!rows.length && !isLoading && !error ? empty("No event", "Nothing has happened that fits these filters.") : nothing}
        ${isAtTop ? nothing : html`<p class="row"><span class="quiet">These are older events.</span><button type="button" @click=${() => load()}>Back to the newest</button></p>`}
        ${rows.length
          ? html`<ul class="list" aria-label="Events, newest first" aria-busy=${isLoading}>
              ${repeat(rows, (one) => one.number, (one) => {
                const its = DAY.format(new Date(one.at));
                const heading = its === day ? nothing : html`<div class="day">${its}</div>`;
                day = its;
                return html`<li>${heading}${line(one)}</li>`;
              })}
            </ul>`
          : nothing}
        ${isWhole || !rows.length ? nothing : html`<p class="row section"><button type="button" ?disabled=${isLoading} @click=${() => load({ older: true })}>Older events</button></p>`}`;
    },
    close() {
      generation += 1;
      clearTimeout(typing);
    },
  };
}

/** A session's events are about its long id; what people call it is its name. */
function nameOf({ subject, data }) {
  const known = state.overview?.sessions.find((one) => one.id === subject);
  return known?.name ?? (subject.length > 20 && typeof data.name === "string" ? data.name : subject);
}

function line(event) {
  return html`<div class="event" data-row tabindex="-1" data-event=${event.number}>
    ${moment(event.at, { seconds: true })}
    <span class="clip">${idLink(nameOf(event))}</span>
    <span class="kind">${words(event.kind)}</span>
    <span class="data">${told(event.data)}</span>
    <span class="actor quiet clip">${event.actor}</span>
  </div>`;
}

/** What an event says besides, as text. */
function told(data) {
  const parts = Object.entries(data)
    .filter(([, value]) => value !== null && value !== "" && !(Array.isArray(value) && !value.length))
    .map(([name, value]) => `${words(name)}: ${typeof value === "string" ? value : JSON.stringify(value)}`);
  const text = parts.join(" · ");
  return text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)}…` : text;
}
