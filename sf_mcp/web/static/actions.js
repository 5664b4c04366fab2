/**
 * What the person does: each action once at a time, its refusal said with its remedy, and a dialog
 * that asks before what cannot be undone.
 */

import { call } from "./server.js";
import { redraw, state } from "./state.js";

const TOAST_MILLISECONDS = 6000;
const MOST_TOASTS = 4;
let toastNumber = 0;
/** Keys whose action is done, but not yet seen in an overview. */
const settling = new Set();
const SETTLED_MILLISECONDS = 3000;

/** Say something; what went wrong stays until it is dismissed. */
export function toast(kind, text, remedy = "") {
  const id = ++toastNumber;
  state.toasts = [...state.toasts, { id, kind, text, remedy }].slice(-MOST_TOASTS);
  if (kind !== "bad") setTimeout(() => dismiss(id), TOAST_MILLISECONDS);
  redraw();
}

export function dismiss(id) {
  state.toasts = state.toasts.filter((one) => one.id !== id);
  redraw();
}

/** Whether the action with this key is under way: its buttons are off. */
export function isBusy(key) {
  return state.busy.has(key);
}

/**
 * Do one operation; nothing when the same is under way already. Returns its result, or undefined
 * when it was refused or not done. `done` is what to say then, or a function of the result.
 */
export async function act(key, name, args, done = "") {
  if (state.busy.has(key)) return undefined;
  state.busy.add(key);
  redraw();
  try {
    const result = await call(name, args);
    const said = typeof done === "function" ? done(result) : done;
    if (said) toast("ok", said);
    // The page shows what was done with the next overview; until then a second click does nothing.
    settling.add(key);
    setTimeout(() => settled([key]), SETTLED_MILLISECONDS);
    return result ?? true;
  } catch (error) {
    toast("bad", error.message || String(error), error.remedy || "");
    state.busy.delete(key);
    return undefined;
  } finally {
    redraw();
  }
}

/** An overview has come: what was done before it is over. */
export function settled(keys = [...settling]) {
  for (const key of keys) {
    settling.delete(key);
    state.busy.delete(key);
  }
  redraw();
}

/**
 * Ask in a dialog. Returns what was filled in by field name, or null when it was closed.
 *
 * A field is `{name, label, kind: "line" | "text" | "choice", value, choices: [[value, label]],
 * isRequired, hint}`.
 */
export function ask({ title, text = "", fields = [], confirm = "OK", isDanger = false }) {
  if (state.dialog) return Promise.resolve(null);
  return new Promise((resolve) => {
    const from = document.activeElement;
    state.dialog = {
      title,
      text,
      fields,
      confirm,
      isDanger,
      close(values) {
        state.dialog = null;
        redraw();
        if (from instanceof HTMLElement) requestAnimationFrame(() => from.focus());
        resolve(values);
      },
    };
    redraw();
  });
}
