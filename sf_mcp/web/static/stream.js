// One connection to the server's event stream, which comes back by itself. For the page and for a
// worker: so nothing here knows of a document.

const STALE_MILLISECONDS = 40_000; // the server says something each 15 s
const FIRST_WAIT_MILLISECONDS = 1_000;
const LONGEST_WAIT_MILLISECONDS = 15_000;

export const KEY_HEADER = "X-Stoneforge-Key";
export const UNREACHABLE = {
  code: "unreachable",
  message: "The server does not answer.",
  remedy: "Start it with `sf serve`; this page goes on by itself.",
};
export const SIGNED_OUT = {
  code: "unauthorized",
  message: "This browser is signed out.",
  remedy: "Sign in again: run `sf open` in a terminal.",
};

/**
 * How a page stands with the server.
 *
 * @typedef {object} Link
 * @property {boolean} isLive whether what is shown is what holds
 * @property {number} since when that became so, or when the server was last heard of, in
 *   milliseconds since 1970; 0 when it never was
 * @property {{code: string, message: string, remedy: string}} [refusal] why it does not come back by
 *   itself: sign in again
 */

/**
 * Follow the stream until it is ended.
 *
 * @param {object} how
 * @param {string} how.key the page's key
 * @param {(kind: string, data: string) => void} how.onMessage `overview` or `events`, with its JSON
 * @param {(link: Link) => void} how.onLink when the connection is lost, back or refused
 * @returns {() => void} ends it
 */
export function follow({ key, onMessage, onLink }) {
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
    if (!isLive) onLink({ isLive: (isLive = true), since: heard });
    if (message.type !== "alive") onMessage(message.type, message.data);
  }

  function connect() {
    source?.close();
    const query = new URLSearchParams({ key, ...(last && { after: last }) });
    source = new EventSource(`/api/events?${query}`);
    for (const kind of ["overview", "events", "alive"]) source.addEventListener(kind, hear);
    source.addEventListener("error", lose);
    clearTimeout(watch);
    watch = setTimeout(lose, STALE_MILLISECONDS);
  }

  function lose() {
    source?.close();
    clearTimeout(watch);
    clearTimeout(retry);
    if (isOver) return;
    if (isLive || !heard) onLink({ isLive: (isLive = false), since: heard });
    retry = setTimeout(comeBack, wait);
    wait = Math.min(wait * 2, LONGEST_WAIT_MILLISECONDS);
  }

  async function comeBack() {
    const isSignedOut = await isRefused(key);
    if (isOver) return;
    if (isSignedOut) onLink({ isLive: false, since: heard, refusal: SIGNED_OUT });
    else connect();
  }

  connect();
  return () => {
    isOver = true;
    lose();
  };
}

/** Tell whether the server says no: an EventSource does not say why it was not let in. */
async function isRefused(/** @type {string} */ key) {
  try {
    const answer = await fetch("/api/list_plans", {
      method: "POST",
      headers: { "Content-Type": "application/json", [KEY_HEADER]: key },
      body: "{}",
      cache: "no-store",
    });
    return answer.status === 401;
  } catch {
    return false;
  }
}
