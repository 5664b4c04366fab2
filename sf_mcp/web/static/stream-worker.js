// A worker that all tabs of this browser share: one stream for all of them. A browser opens six
// connections to one server at most, so with a stream in each tab the seventh would show nothing.

import { follow } from "./stream.js";

const SIGN_MILLISECONDS = 15_000;

/** @type {Set<MessagePort>} */
const tabs = new Set();
let key = "";
let end = () => {};
let overview = ""; // the newest, for a tab that comes later
let link = { isLive: false, since: 0 };

function tell(message) {
  for (const tab of tabs) tab.postMessage(message);
}

function start() {
  end();
  link = { isLive: false, since: link.since };
  end = follow({
    key,
    onMessage(kind, data) {
      if (kind === "overview") overview = data;
      tell({ kind, data });
    },
    onLink(now) {
      link = now;
      tell({ link });
    },
  });
}

function take(/** @type {MessagePort} */ tab, /** @type {any} */ message) {
  if (message.isLeaving) {
    tabs.delete(tab);
    if (tabs.size === 0) {
      end();
      key = overview = "";
    }
    return;
  }
  tabs.add(tab);
  if (message.key !== key || link.refusal) {
    key = message.key;
    start();
    return;
  }
  tab.postMessage({ link });
  if (overview) tab.postMessage({ kind: "overview", data: overview });
}

// That this worker lives, whatever the server does: a tab is not told when it ends.
setInterval(() => tell({ kind: "alive" }), SIGN_MILLISECONDS);

self.addEventListener("connect", ({ ports: [tab] }) => {
  tab.onmessage = ({ data }) => take(tab, data);
});
