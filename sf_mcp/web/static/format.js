/** Times, amounts and names as text; nothing here touches the page. */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const CLOCK = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
});
const CLOCK_SECONDS = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const DATE = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

/** How long, shortly: `12 s`, `4 min`, `2 h 5 min`, `3 d`. */
export function duration(milliseconds) {
  const span = Math.max(0, milliseconds);
  if (span < MINUTE) return `${Math.floor(span / SECOND)} s`;
  if (span < HOUR) return `${Math.floor(span / MINUTE)} min`;
  if (span < DAY) {
    const minutes = Math.floor((span % HOUR) / MINUTE);
    return minutes ? `${Math.floor(span / HOUR)} h ${minutes} min` : `${Math.floor(span / HOUR)} h`;
  }
  return `${Math.floor(span / DAY)} d`;
}

/** The time of day here; with the date when it is another day than `now`. */
export function clock(at, now = Date.now(), { seconds = false } = {}) {
  const time = new Date(at);
  const text = (seconds ? CLOCK_SECONDS : CLOCK).format(time);
  const isToday = time.toDateString() === new Date(now).toDateString();
  return isToday ? text : `${DATE.format(time)} ${text}`;
}

/** The same moment in UTC, in full. */
export function utc(at) {
  return new Date(at).toISOString().replace("T", " ").replace(/\.\d+Z/, " UTC");
}

/** `$0.42`, `$13.07`, `$1,204`. */
export function money(usd) {
  const digits = usd >= 1000 ? 0 : 2;
  return `$${usd.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

/** `950`, `84 k`, `1.2 M`. */
export function tokens(number) {
  if (number < 1000) return String(number);
  if (number < 1_000_000) return `${Math.round(number / 1000)} k`;
  return `${(number / 1_000_000).toFixed(1)} M`;
}

/** `1 task`, `3 tasks`. */
export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en-US")} ${number === 1 ? one : many}`;
}

/** A state's or a kind's name as words: `in_review` → `in review`. */
export function words(name) {
  return String(name).replaceAll("_", " ");
}

/** A commit as people say it. */
export function short(commit) {
  return commit ? String(commit).slice(0, 8) : "";
}

/** A status without the terminal's command at its end: the page has a button for it. */
export function withoutCommand(status) {
  return status.replace(/: sf .*$/, "");
}
