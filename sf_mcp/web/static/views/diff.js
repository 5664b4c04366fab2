/** What a task has changed, or one of its snapshots: files that fold open, each patch on demand. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { guard } from "../vendor/lit-html/directives/guard.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { count, short } from "../format.js";
import { empty, patch, refused } from "../parts.js";
import { call } from "../server.js";
import { redraw } from "../state.js";

const MOST_OPEN_AT_FIRST = 3; // files; more are shown folded

export class Diff {
  #task;
  #snapshot;
  #files = [];
  #seen = null;
  #error = null;
  #isLoading = false;
  #patches = new Map();
  #isClosed = false;

  constructor(task, snapshot = 0) {
    this.#task = task;
    this.#snapshot = snapshot;
    this.refresh();
  }

  close() {
    this.#isClosed = true;
  }

  /** Look again; what was opened stays open when nothing has changed. */
  async refresh() {
    await this.#load("");
  }

  async #load(after) {
    if (this.#isLoading) return;
    this.#isLoading = true;
    try {
      const seen = await call("show_diff", { task: this.#task, snapshot: this.#snapshot, files_after: after });
      if (this.#isClosed) return;
      this.#error = null;
      if (seen.commit !== this.#seen?.commit || seen.base !== this.#seen?.base) {
        this.#patches.clear();
        this.#files = seen.files;
        if (seen.total_files <= MOST_OPEN_AT_FIRST) for (const file of seen.files) this.#open(file);
      } else if (after) this.#files = [...this.#files, ...seen.files];
      // A second look at the first page leaves what was loaded beyond it.
      this.#seen = after || !this.#seen || seen.commit !== this.#seen.commit ? seen : this.#seen;
    } catch (error) {
      this.#error = error;
    } finally {
      this.#isLoading = false;
      if (!this.#isClosed) redraw();
    }
  }

  #open(file) {
    if (this.#patches.has(file.path)) return;
    this.#patches.set(file.path, { texts: [], next: 0, isLoading: false, error: null });
    this.#more(file);
  }

  async #more(file) {
    const one = this.#patches.get(file.path);
    if (!one || one.isLoading || one.next === null) return;
    one.isLoading = true;
    redraw();
    try {
      const page = await call("show_file_diff", { task: this.#task, snapshot: this.#snapshot, path: file.path, was: file.was, start: one.next });
      one.texts = [...one.texts, page.patch];
      one.next = page.next_start;
      one.error = null;
      if (page.commit !== this.#seen?.commit) this.refresh();
    } catch (error) {
      one.error = error;
    }
    one.isLoading = false;
    if (!this.#isClosed) redraw();
  }

  render() {
    if (this.#error && !this.#seen) return refused(this.#error);
    if (!this.#seen) return html`<p class="quiet" role="status">Comparing…</p>`;
    if (!this.#seen.commit) return empty("No changes yet", "Nothing has been committed. What was not committed is in the snapshots, in the history.");
    const { what, base, commit, total_files: total, added, removed, next_after: after } = this.#seen;
    return html`${this.#error ? refused(this.#error) : nothing}
      <p class="headline" data-diff>
        <span><strong>${what}</strong>: <span class="mono">${short(base)}…${short(commit)}</span></span>
        <span>${count(total, "file")} <span class="num added">+${added}</span> <span class="num removed">−${removed}</span></span>
      </p>
      ${total
        ? html`<div class="list section">${repeat(this.#files, (file) => file.path, (file) => this.#file(file))}</div>`
        : empty("Nothing differs", "The work is the same as where it began.")}
      ${after && this.#files.length < total ? html`<p class="row section"><button type="button" ?disabled=${this.#isLoading} @click=${() => this.#load(after)}>More files</button></p>` : nothing}`;
  }

  #file(file) {
    const one = this.#patches.get(file.path);
    return html`<details data-file=${file.path} ?open=${Boolean(one)} @toggle=${(event) => event.target.open && this.#open(file)}>
      <summary data-row tabindex="0"><span class="mono grow clip" title=${file.path}>${file.was ? `${file.was} → ` : ""}${file.path}</span><span class="quiet">${file.how}</span><span class="num">${file.added === null ? "binary" : html`<span class="added">+${file.added}</span> <span class="removed">−${file.removed}</span>`}</span></summary>
      ${one
        ? html`<div class="fold">
            ${one.error ? refused(one.error) : nothing}
            ${repeat(one.texts, (_, index) => index, (text) => guard([text], () => patch(text, `Changes of ${file.path}`)))}
            ${one.texts.length ? nothing : html`<p class="quiet">Loading…</p>`}
            ${one.texts.length && one.next !== null ? html`<p><button type="button" ?disabled=${one.isLoading} @click=${() => this.#more(file)}>More of ${file.path}</button></p>` : nothing}
          </div>`
        : nothing}
    </details>`;
  }
}
