/**
 * A session's transcript, live: its end first, what was before on demand, what comes as it comes.
 *
 * Only a window of it is in the page: a log may have hundreds of megabytes.
 */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { guard } from "../vendor/lit-html/directives/guard.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { money, words } from "../format.js";
import { badge, icon, moment, refused } from "../parts.js";
import { call } from "../server.js";
import { redraw } from "../state.js";

const PAGE = 80;
const MOST_PAGES = 8;
const LOOK_MILLISECONDS = 2000;
const NEAR_PIXELS = 48;
/** What tells a call at a glance, of its input. */
const TELLING = ["command", "file_path", "pattern", "path", "summary", "question", "description", "message", "url"];

export class Transcript {
  session;
  #pages = [];
  #isLoading = false;
  #error = null;
  #version = 0;
  #isAtEnd = true;
  #isLast = false;
  #isLive = false;
  #isClosed = false;
  #keep = null;
  #timer = 0;

  constructor(session) {
    this.session = session;
    this.#load({});
    this.#timer = setInterval(() => this.#isLive && this.follow(), LOOK_MILLISECONDS);
  }

  close() {
    this.#isClosed = true;
    clearInterval(this.#timer);
  }

  /** Look for what is new, unless the end is not in the window. */
  follow() {
    if (document.hidden || this.#isLoading || !this.#pages.length || !this.#isLast) return;
    this.#load({ after: this.#pages.at(-1).end });
  }

  async #load(where) {
    if (this.#isLoading) return;
    this.#isLoading = true;
    try {
      const page = await call("read_transcript", { session: this.session, limit: PAGE, ...where });
      if (this.#isClosed) return;
      this.#keep = this.#isAtEnd ? null : this.#inSight();
      this.#error = null;
      this.#isLive = page.is_live;
      this.#take(page, where);
    } catch (error) {
      this.#error = error;
    } finally {
      this.#isLoading = false;
      this.#version += 1;
      if (!this.#isClosed) redraw();
    }
  }

  #take(page, where) {
    if ("before" in where) {
      this.#pages.unshift(page);
      if (this.#pages.length > MOST_PAGES) {
        this.#pages.pop();
        this.#isLast = false;
      }
      return;
    }
    if ("after" in where) {
      if (page.end > page.start) this.#pages.push(page);
      // Small steps of a live log become one page, so that pages stay worth their name.
      const [a, b] = this.#pages.slice(-2);
      if (b && a.entries.length + b.entries.length <= PAGE) {
        this.#pages.splice(-2, 2, { ...a, entries: [...a.entries, ...b.entries], end: b.end });
      }
      if (this.#pages.length > MOST_PAGES) this.#pages.shift();
    } else this.#pages = [page];
    this.#isLast = page.is_last;
  }

  get #box() {
    return document.querySelector(".transcript");
  }

  #onScroll = (event) => {
    const box = event.currentTarget;
    this.#isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PIXELS;
    if (this.#isLoading) return;
    if (box.scrollTop < NEAR_PIXELS && !this.#pages[0]?.is_first) this.#earlier();
    else if (this.#isAtEnd && !this.#isLast) this.#later();
    redraw();
  };

  #earlier = () => this.#load({ before: this.#pages[0].start });
  #later = () => this.#load({ after: this.#pages.at(-1).end });
  #toEnd = () => {
    this.#isAtEnd = true;
    if (!this.#isLast) this.#load({});
    else this.#settle();
  };

  /** What the reader has at the top, and where: pages come and go above it. */
  #inSight() {
    const box = this.#box;
    const top = box?.getBoundingClientRect().top;
    const element = box && [...box.children].slice(1).find((one) => one.getBoundingClientRect().bottom > top);
    return element ? { element, top: element.getBoundingClientRect().top } : null;
  }

  /** After the page was drawn: stay at the end, or where the reader was. */
  #settle() {
    requestAnimationFrame(() => {
      const [box, keep] = [this.#box, this.#keep];
      this.#keep = null;
      if (!box) return;
      if (keep?.element.isConnected) box.scrollTop += keep.element.getBoundingClientRect().top - keep.top;
      else if (this.#isAtEnd) box.scrollTop = box.scrollHeight;
    });
  }

  render(label) {
    if (this.#error && !this.#pages.length) return refused(this.#error);
    if (!this.#pages.length) return html`<p class="quiet" role="status">Reading the transcript…</p>`;
    const isFirst = this.#pages[0].is_first;
    return html`${this.#error ? refused(this.#error) : nothing}
      <div class="transcript" role="log" aria-label="Transcript of ${label}" aria-live="off" tabindex="0" @scroll=${this.#onScroll}>
        ${isFirst ? html`<p class="turn">the beginning</p>` : html`<p class="turn"><button type="button" class="bare" ?disabled=${this.#isLoading} @click=${this.#earlier}>Earlier</button></p>`}
        ${guard([this.#version], () => {
          this.#settle();
          const entries = this.#pages.flatMap((page) => page.entries);
          return entries.length ? repeat(entries, keys(), entry) : html`<p class="turn">Nothing yet.</p>`;
        })}
        ${this.#isLast ? nothing : html`<p class="turn"><button type="button" class="bare" ?disabled=${this.#isLoading} @click=${this.#later}>Later</button></p>`}
      </div>
      <div class="transcript-foot">
        ${this.#isLive ? badge("run", "half", "live") : badge("quiet", "ring", "the session has ended")}
        ${this.#isAtEnd && this.#isLast ? nothing : html`<button type="button" @click=${this.#toEnd}>To the end</button>`}
      </div>`;
  }
}

/** A key for each entry, in order: where its line begins, and its place among those of the line. */
function keys() {
  let [offset, place] = [-1, 0];
  return (one) => {
    place = one.offset === offset ? place + 1 : 0;
    offset = one.offset;
    return `${offset} ${place}`;
  };
}

function entry(one) {
  switch (one.kind) {
    case "text":
      return html`<div class="said ${one.role}">${one.text}${one.is_cut ? html`<span class="quiet">… (the log has the rest)</span>` : nothing}</div>`;
    case "tool":
      return html`<details data-tool=${one.name}><summary>${icon("bolt")}<strong>${shortName(one.name)}</strong><span class="mono clip grow">${telling(one.text)}</span>${one.at ? moment(one.at, { seconds: true }) : nothing}</summary><pre>${pretty(one.text)}</pre></details>`;
    case "result":
      return html`<details class=${one.is_error ? "bad" : ""}><summary>${icon(one.is_error ? "warn" : "note")}<span class="mono clip grow">${one.is_error ? "" : "→ "}${firstLine(one.text)}</span></summary><pre>${one.text}${one.is_cut ? "…" : ""}</pre></details>`;
    case "end":
      return html`<p class="turn ${one.is_error ? "bad" : ""}">turn ended: ${words(one.name)}${one.cost_usd === null ? "" : `, ${money(one.cost_usd)}`}${one.text ? html` – ${one.text}` : nothing}</p>`;
    default:
      return html`<p class="turn">${one.text}</p>`;
  }
}

/** `mcp__stoneforge__claim_task` → `claim_task`. */
function shortName(name) {
  return name.startsWith("mcp__") ? name.split("__").at(-1) : name;
}

function firstLine(text) {
  return text.trimStart().split("\n", 1)[0].slice(0, 300) || "(nothing)";
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // cut
  }
}

function telling(text) {
  const given = parsed(text);
  const found = given && TELLING.map((name) => given[name]).find((one) => typeof one === "string");
  return firstLine(found ?? text);
}

function pretty(text) {
  const given = parsed(text);
  return given ? JSON.stringify(given, null, 2).replaceAll("\\n", "\n") : text;
}
