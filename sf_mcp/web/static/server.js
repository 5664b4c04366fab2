// The way to the server: operations by name, and the stream of what happens.
//
// Every request brings two secrets: a cookie, which scripts do not see, and a key, which the link of
// `sf open` leaves in the address and this module keeps. Neither is of use without the other.

const KEY = "stoneforge-key";
const STALE_MILLISECONDS = 40_000; // the server says something each 15 s
const FIRST_WAIT_MILLISECONDS = 1_000;
const LONGEST_WAIT_MILLISECONDS = 15_000;

/** What the server refused, in its own words; `remedy` says what to do next. */
export class Refused extends Error {
  /** @param {string} code @param {string} message @param {string} remedy */
  constructor(code, message, remedy) {
    super(message);
    this.name = "Refused";
    this.code = code;
    this.remedy = remedy;
  }

  /** Whether this browser must be let in again before anything else works. */
  get isSignedOut() {
    return this.code === "unauthorized";
  }
}

const SIGNED_OUT = ["This browser is signed out.", "Sign in again: run `sf open` in a terminal."];
const UNREACHABLE = ["The server does not answer.", "Start it with `sf serve`; this page goes on by itself."];

/** Take the key out of the address, where `sf open` has put it. */
function takeKey() {
  const found = /^#key=([\w-]+)$/.exec(location.hash);
  if (!found) return;
  localStorage.setItem(KEY, found[1]);
  history.replaceState(null, "", location.pathname);
}
takeKey();
addEventListener("hashchange", takeKey);

/** @returns {string} */
function key() {
  return localStorage.getItem(KEY) ?? "";
}

/**
 * Carry out one operation.
 *
 * @param {string} name as in `sf_mcp/service/operations.py`
 * @param {Record<string, unknown>} [args] its arguments by name
 * @returns {Promise<any>} its result
 * @throws {Refused} with the code, the message and the remedy
 */
export async function call(name, args = {}) {
  let answer, body;
  try {
    answer = await fetch(`/api/${encodeURIComponent(name)}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Stoneforge-Key": key() },
      body: JSON.stringify(args),
      credentials: "same-origin",
      cache: "no-store",
    });
    body = await answer.json();
  } catch {
    throw new Refused("unreachable", ...UNREACHABLE);
  }
  if (answer.ok) return body;
  if (answer.status === 401) throw new Refused("unauthorized", ...SIGNED_OUT);
  throw new Refused(body.code ?? "refused", body.message ?? `${answer.status}`, body.remedy ?? "");
}

/**
 * How the page stands with the server.
 *
 * @typedef {object} Link
 * @property {boolean} isLive whether what is shown is what holds
 * @property {number} since when that became so, or when the server was last heard of, in
 *   milliseconds since 1970; 0 when it never was
 * @property {Refused} [refusal] why it does not come back by itself: sign in again
 */

/**
 * Hear of every change, for as long as the page is open: reconnects by itself.
 *
 * @param {object} listener
 * @param {(overview: any) => void} [listener.onOverview] at once, and whenever it has changed
 * @param {(events: any[]) => void} [listener.onEvents] what has happened, each once, in order
 * @param {(link: Link) => void} [listener.onLink] when the connection is lost or back
 * @returns {() => void} ends it
 */
export function subscribe({ onOverview = () => {}, onEvents = () => {}, onLink = () => {} }) {
  /** @type {EventSource | undefined} */
  let source;
  let last = ""; // number of the newest event that was handed on
  let heard = 0;
  let isLive = false;
  let isOver = false;
  let wait = FIRST_WAIT_MILLISECONDS;
  let retry = 0;
  let watch = 0;

  function hear(/** @type {MessageEvent} */ message) {
    heard = Date.now();
    wait = FIRST_WAIT_MILLISECONDS;
    if (message.lastEventId) last = message.lastEventId;
    clearTimeout(watch);
    watch = setTimeout(lose, STALE_MILLISECONDS);
    if (isLive) return;
    isLive = true;
    onLink({ isLive, since: heard });
  }

  function connect() {
    source?.close();
    const query = new URLSearchParams({ key: key(), ...(last && { after: last }) });
    source = new EventSource(`/api/events?${query}`);
    source.addEventListener("overview", (message) => {
      hear(message);
      onOverview(JSON.parse(message.data));
    });
    source.addEventListener("events", (message) => {
      hear(message);
      onEvents(JSON.parse(message.data));
    });
    source.addEventListener("alive", hear);
    source.addEventListener("error", lose);
  }

  function lose(/** @type {Event | void} */ _event) {
    source?.close();
    clearTimeout(watch);
    clearTimeout(retry);
    if (isOver) return;
    if (isLive || !heard) {
      isLive = false;
      onLink({ isLive, since: heard });
    }
    retry = setTimeout(comeBack, wait);
    wait = Math.min(wait * 2, LONGEST_WAIT_MILLISECONDS);
  }

  // An EventSource does not say why it was refused; an operation does.
  async function comeBack() {
    try {
      await call("list_plans");
    } catch (refusal) {
      if (isOver) return;
      if (!(refusal instanceof Refused) || !refusal.isSignedOut) return lose();
      onLink({ isLive: false, since: heard, refusal });
      return;
    }
    if (!isOver) connect();
  }

  function signedIn(/** @type {StorageEvent} */ change) {
    if (change.key === KEY && !isOver) connect();
  }

  addEventListener("storage", signedIn); // another tab was let in anew
  connect();
  return () => {
    isOver = true;
    source?.close();
    clearTimeout(watch);
    clearTimeout(retry);
    removeEventListener("storage", signedIn);
  };
}
