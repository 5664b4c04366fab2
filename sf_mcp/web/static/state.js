/**
 * What the page knows, in one object, and the one way to have it drawn again.
 *
 * Rule: whoever changes something calls `redraw()`; however often, it is drawn once per frame.
 */

import { call } from "./server.js";

export const state = {
  /** The newest overview; null until the first has come. */
  overview: null,
  /** How the server's clock differs from this one's, in milliseconds. */
  clockOffset: 0,
  /** Whether the stream is up, and since when not; `isSignedOut`: only `sf open` helps. */
  link: { isLive: false, since: null, isSignedOut: false },
  /** The open view (see main.js), and the route it was opened for. */
  view: null,
  route: { name: "now", argument: "" },
  /** Actions under way, by their key. */
  busy: new Set(),
  /** What was said of actions: `{id, kind, text, remedy}`. */
  toasts: [],
  /** The open dialog (see actions.js), or null. */
  dialog: null,
};

let draw = () => {};
let isDue = false;

/** Tell what draws the page. */
export function drawWith(function_) {
  draw = function_;
}

/** Have the page drawn in the next frame. */
export function redraw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    draw();
  });
}

/** The server's time, in milliseconds: ages are told by its clock. */
export function serverNow() {
  return Date.now() + state.clockOffset;
}

const LEAST_MILLISECONDS = 700;

/**
 * Something that is asked for and asked for again as things happen: never twice at a time, and not
 * more often than `LEAST_MILLISECONDS`. `value` stays while the next one is on its way.
 */
export class Resource {
  value = null;
  /** The refusal of the newest try, or null. */
  error = null;
  isClosed = false;
  #load;
  #isLoading = false;
  #isWanted = false;

  constructor(load) {
    this.#load = load;
    this.refresh();
  }

  get isLoading() {
    return this.#isLoading;
  }

  /** Ask again, now or as soon as it may be. */
  async refresh() {
    if (this.isClosed) return;
    if (this.#isLoading) {
      this.#isWanted = true;
      return;
    }
    this.#isLoading = true;
    this.#isWanted = false;
    const started = performance.now();
    try {
      const value = await this.#load();
      if (this.isClosed) return;
      this.value = value;
      this.error = null;
    } catch (error) {
      if (this.isClosed) return;
      this.error = error;
    }
    redraw();
    const rest = Math.max(0, LEAST_MILLISECONDS - (performance.now() - started));
    setTimeout(() => {
      this.#isLoading = false;
      if (this.#isWanted) this.refresh();
    }, rest);
  }

  /** Take no more answers. */
  close() {
    this.isClosed = true;
  }
}

/** A resource that is one operation's answer. */
export function asked(name, args) {
  return new Resource(() => call(name, args));
}
