/**
 * The keyboard: two-key ways to views, a way through the rows of whatever is open, a search, a help.
 *
 * Rows are elements with `data-row`, in the order of the page; Enter follows the row's own link
 * (`data-open`, or its first). A view may have keys of its own: `view.keys`.
 */

export const KEYS = [
  ["g n", "go to Now"],
  ["g p", "go to Plan"],
  ["g t", "go to Train"],
  ["g l", "go to Log"],
  ["j / k", "next row, row before"],
  ["Enter", "open the row"],
  ["/", "search or filter"],
  ["c", "new task"],
  ["?", "this help"],
  ["Esc", "close, or leave a field"],
];

const SECOND_KEY_MILLISECONDS = 1500;
let isAfterG = 0;

function isTyping(target) {
  return target instanceof HTMLElement && target.closest("input, textarea, select, [contenteditable]");
}

function isOnControl(target) {
  return target instanceof HTMLElement && target.closest("a, button, summary, [role=button]");
}

/** Move to another row; the first one when none has the focus. */
export function moveRow(step) {
  const rows = [...document.querySelectorAll("#main [data-row]")].filter((row) => row.offsetParent !== null || row.getClientRects().length);
  if (!rows.length) return;
  const present = document.activeElement?.closest?.("[data-row]");
  const index = rows.indexOf(present);
  const next = index < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, index + step));
  rows[next].focus({ preventScroll: true });
  rows[next].scrollIntoView({ block: "nearest" });
}

/** Listen; `ways` says where the keys lead: `{go, help, search, create, viewKeys, escape}`. */
export function listen(ways) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      if (isTyping(event.target)) event.target.blur();
      else ways.escape();
      return;
    }
    if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
    const isSecond = performance.now() - isAfterG < SECOND_KEY_MILLISECONDS;
    isAfterG = 0;
    if (isSecond && ways.go(event.key)) return event.preventDefault();
    const own = ways.viewKeys()?.[event.key];
    if (own) {
      own(event);
      return event.preventDefault();
    }
    switch (event.key) {
      case "g":
        isAfterG = performance.now();
        return;
      case "j":
        moveRow(1);
        break;
      case "k":
        moveRow(-1);
        break;
      case "Enter": {
        const row = event.target instanceof HTMLElement ? event.target.closest("[data-row]") : null;
        if (!row || (isOnControl(event.target) && event.target !== row)) return;
        if (row.matches("a, button")) return;
        (row.querySelector("[data-open]") ?? row.querySelector("a"))?.click();
        break;
      }
      case "/":
        ways.search();
        break;
      case "c":
        ways.create();
        break;
      case "?":
        ways.help();
        break;
      default:
        return;
    }
    event.preventDefault();
  });
}
