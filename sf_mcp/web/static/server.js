// The way to the server: operations by name, and the stream of what happens.
//
// Every request brings two secrets: a cookie, which scripts do not see, and a key, which the link of
// `sf open` leaves in the address and this module keeps. Neither is of use without the other.

import { follow, KEY_HEADER, SIGNED_OUT, UNREACHABLE } from "./stream.js";
import { shareWorker } from "./workers.js";

const KEY = "stoneforge-key";
const SILENT_MILLISECONDS = 45_000; // the shared worker gives a sign each 15 s

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

/** @param {{code: string, message: string, remedy: string}} words */
function refused({ code, message, remedy }) {
  return new Refused(code, message, remedy);
}

/** Take the key out of the address, where `sf open` has put it. */
function takeKey() {
  const found = /^#key=([\w-]+)$/.exec(location.hash);
  if (!found) return;
  localStorage.setItem(KEY, found[1]);
  history.replaceState(null, "", location.pathname);
}
takeKey();

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
      headers: { "Content-Type": "application/json", [KEY_HEADER]: key() },
      body: JSON.stringify(args),
      credentials: "same-origin",
      cache: "no-store",
    });
    body = await answer.json();
  } catch {
    throw refused(UNREACHABLE);
  }
  if (answer.ok) return body;
  if (answer.status === 401) throw refused(SIGNED_OUT);
  throw new Refused(body.code ?? "refused", body.message ?? `${answer.status}`, body.remedy ?? "");
}

/**
 * Hear of every change, for as long as the page is open: reconnects by itself.
 *
 * @param {object} listener
 * @param {(overview: any) => void} [listener.onOverview] at once, and whenever it has changed
 * @param {(events: any[]) => void} [listener.onEvents] what has happened, each once, in order
 * @param {(link: import("./stream.js").Link & {refusal?: Refused}) => void} [listener.onLink] when
 *   the connection is lost, back or refused
 * @returns {() => void} ends it
 */
export function subscribe({ onOverview = () => {}, onEvents = () => {}, onLink = () => {} }) {
  const hear = {
    onMessage(/** @type {string} */ kind, /** @type {string} */ data) {
      if (kind === "overview") onOverview(JSON.parse(data));
      if (kind === "events") onEvents(JSON.parse(data));
    },
    onLink(/** @type {import("./stream.js").Link} */ link) {
      onLink(link.refusal ? { ...link, refusal: refused(link.refusal) } : link);
    },
  };
  let leave = () => {};

  function join() {
    leave();
    leave = "SharedWorker" in globalThis ? share(hear, alone, join) : follow({ key: key(), ...hear });
  }

  function alone() {
    leave();
    leave = follow({ key: key(), ...hear });
  }

  function seeKey(/** @type {Event} */ change) {
    takeKey();
    if (!(change instanceof StorageEvent) || change.key === KEY) join();
  }

  /** @type {[string, (event: any) => void][]} */
  const watched = [
    ["storage", seeKey], // another tab was let in anew
    ["hashchange", () => location.hash.startsWith("#key=") && seeKey(new Event("key"))],
    ["pagehide", () => leave()],
    ["pageshow", ({ persisted }) => persisted && join()],
  ];
  for (const [kind, listener] of watched) addEventListener(kind, listener);
  join();
  return () => {
    leave();
    for (const [kind, listener] of watched) removeEventListener(kind, listener);
  };
}

/**
 * Hear through the worker that all tabs share.
 *
 * @param {{onMessage: Function, onLink: Function}} hear
 * @param {() => void} instead called where it cannot be started
 * @param {() => void} again called when it has died
 */
function share(hear, instead, again) {
  const worker = shareWorker("stream-worker.js");
  let watch = 0;

  function expectMore() {
    const heard = Date.now();
    clearTimeout(watch);
    watch = setTimeout(() => {
      hear.onLink({ isLive: false, since: heard });
      again();
    }, SILENT_MILLISECONDS);
  }

  worker.onerror = instead;
  worker.port.onmessage = ({ data }) => {
    expectMore();
    if (data.link) hear.onLink(data.link);
    else hear.onMessage(data.kind, data.data);
  };
  worker.port.postMessage({ key: key() });
  expectMore();
  return () => {
    clearTimeout(watch);
    worker.port.postMessage({ isLeaving: true });
    worker.port.close();
  };
}
