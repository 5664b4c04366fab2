/**
 * A plan's graph, drawn: tasks as boxes that lead to their page, dependencies as lines.
 *
 * Where things stand is computed in a worker, anew only when tasks or dependencies come or go; what
 * a task's box says changes in place. The box that scrolls is the browser's own, so that wheel,
 * touch and keys move it as anything else; zooming changes the size of the picture in it.
 */

import { html, nothing, svg } from "../vendor/lit-html/lit-html.js";
import { guard } from "../vendor/lit-html/directives/guard.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { words } from "../format.js";
import { shapeOf, taskLook } from "../parts.js";
import { redraw } from "../state.js";
import { startWorker } from "../workers.js";

const SIZE = [216, 48];
const ZOOM = { least: 0.1, most: 2, step: 1.25 };
/** Below it titles would be smaller than 11 px: a box then shows its id alone, as large as before. */
const WITH_TITLES = 0.9;
/** Below it no id has room in its box. */
const WITH_IDS = 0.26;
const ID_PIXELS = 12;
const BATCH = 80; // boxes that are added in one frame

/** `open(id)` is what Enter and a click on a task do by themselves: its link. */
export class Graph {
  /** Milliseconds that the newest layout took; 0 until there is one. */
  layoutMilliseconds = 0;
  zoom = 1;
  error = "";
  #worker = null;
  #number = 0;
  #asked = "";
  #layout = null;
  #tasks = new Map();
  #critical = new Set();
  #version = 0;
  #drawn = 0;
  #focused = "";
  #wanted = "";
  #matches = null;
  #drag = null;
  #pinch = null;

  /** Show these tasks and dependencies, `[before, after]` each. */
  update(tasks, edges, criticalPath) {
    this.#tasks = new Map(tasks.map((one) => [one.id, one]));
    this.#critical = new Set(criticalPath.slice(1).map((id, index) => `${criticalPath[index]} ${id}`));
    this.#version += 1;
    const asked = JSON.stringify([tasks.map((one) => one.id), edges]);
    if (asked === this.#asked) return;
    this.#asked = asked;
    if (!this.#worker) this.#start();
    this.#worker.postMessage({ number: ++this.#number, ids: tasks.map((one) => one.id), edges, size: SIZE });
  }

  /** Dim everything but these tasks; null: nothing. */
  highlight(ids) {
    if (String(ids && [...ids]) === String(this.#matches && [...this.#matches])) return;
    this.#matches = ids;
    this.#version += 1;
  }

  /** Bring a task into sight and give it the focus. */
  show(id) {
    this.#wanted = id;
    redraw();
  }

  close() {
    this.#worker?.terminate();
    this.#worker = null;
  }

  #start() {
    this.#worker = startWorker("views/layout-worker.js");
    this.#worker.onmessage = ({ data }) => {
      if (data.number !== this.#number) return;
      this.error = data.error ?? "";
      if (!data.error) {
        const isFirst = !this.#layout;
        this.#layout = data;
        this.layoutMilliseconds = data.milliseconds;
        if (isFirst) this.#wanted ||= this.#start_at();
      }
      this.#version += 1;
      redraw();
    };
    this.#worker.onerror = () => {
      this.error = "The layout could not be computed.";
      redraw();
    };
  }

  /** Where the eye begins: what is being worked on, then what could be, on the critical path first. */
  #start_at() {
    const rank = (one) => (one.standing === "claimed" ? 0 : one.standing === "ready" ? 1 : 2) * 2 + (one.is_critical ? 0 : 1);
    const first = [...this.#tasks.values()].sort((a, b) => rank(a) - rank(b) || this.#layout.places[a.id][0] - this.#layout.places[b.id][0])[0];
    return first && rank(first) < 4 ? `~${first.id}` : "";
  }

  // -- zoom ------------------------------------------------------------------------------------

  get #box() {
    return document.querySelector(".graph");
  }

  /** Zoom so that what is under `point` (the middle, when there is none) stays there. */
  zoomTo(zoom, point = null) {
    const box = this.#box;
    const next = Math.min(ZOOM.most, Math.max(ZOOM.least, zoom));
    if (!box || next === this.zoom) return;
    const frame = box.getBoundingClientRect();
    const [x, y] = point ? [point[0] - frame.left, point[1] - frame.top] : [box.clientWidth / 2, box.clientHeight / 2];
    const ratio = next / this.zoom;
    const to = [(box.scrollLeft + x) * ratio - x, (box.scrollTop + y) * ratio - y];
    this.zoom = next;
    this.#sized(box);
    box.scrollTo(...to);
    this.#version += 1;
    redraw();
  }

  zoomBy(steps) {
    this.zoomTo(this.zoom * ZOOM.step ** steps);
  }

  fit() {
    const box = this.#box;
    if (!box || !this.#layout) return;
    this.zoomTo(Math.min(1, box.clientWidth / this.#layout.width, box.clientHeight / this.#layout.height));
    box.scrollTo(0, 0);
  }

  #sized(box) {
    const picture = box.querySelector("svg");
    picture?.setAttribute("width", this.#layout.width * this.zoom);
    picture?.setAttribute("height", this.#layout.height * this.zoom);
  }

  // -- wheel, drag, pinch, keys ----------------------------------------------------------------

  #onWheel = {
    passive: false,
    handleEvent: (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.zoomTo(this.zoom * Math.exp(-event.deltaY / 300), [event.clientX, event.clientY]);
    },
  };

  #onTouch = {
    passive: false,
    handleEvent: (event) => {
      if (event.touches.length !== 2) {
        this.#pinch = null;
        return;
      }
      event.preventDefault();
      const [a, b] = event.touches;
      const span = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
      const middle = [(a.clientX + b.clientX) / 2, (a.clientY + b.clientY) / 2];
      if (this.#pinch) this.zoomTo((this.#pinch.zoom * span) / this.#pinch.span, middle);
      else this.#pinch = { span, zoom: this.zoom };
    },
  };

  #onDown = (event) => {
    if (event.pointerType !== "mouse" || event.button !== 0 || event.target.closest("a")) return;
    const box = event.currentTarget;
    this.#drag = { x: event.clientX + box.scrollLeft, y: event.clientY + box.scrollTop };
    box.setPointerCapture(event.pointerId);
    box.classList.add("dragged");
  };

  #onMove = (event) => {
    if (this.#drag) event.currentTarget.scrollTo(this.#drag.x - event.clientX, this.#drag.y - event.clientY);
  };

  #onUp = (event) => {
    this.#drag = null;
    event.currentTarget.classList.remove("dragged");
  };

  #onKey = (event) => {
    const from = event.target.closest?.("[data-node]")?.dataset.node;
    if (!from || event.ctrlKey || event.metaKey || event.altKey) return;
    const to = this.#next(from, event.key);
    if (to === undefined) return;
    event.preventDefault();
    if (to) this.#focus(to);
  };

  /** The task that an arrow key leads to: along the lines, or up and down in a column. */
  #next(from, key) {
    const { places, paths } = this.#layout;
    const y = places[from][1];
    const nearest = (ids) => ids.filter((id) => places[id]).sort((a, b) => Math.abs(places[a][1] - y) - Math.abs(places[b][1] - y))[0] ?? "";
    switch (key) {
      case "ArrowRight":
        return nearest(paths.filter(([before]) => before === from).map(([, after]) => after));
      case "ArrowLeft":
        return nearest(paths.filter(([, after]) => after === from).map(([before]) => before));
      case "ArrowUp":
      case "ArrowDown": {
        const isOnward = (id) => (key === "ArrowDown" ? places[id][1] > y : places[id][1] < y);
        return nearest(Object.keys(places).filter((id) => Math.abs(places[id][0] - places[from][0]) < SIZE[0] / 2 && isOnward(id)));
      }
      default:
        return undefined;
    }
  }

  #focus(id) {
    this.#focused = id;
    this.#version += 1;
    const element = this.#box?.querySelector(`[data-node="${id}"]`);
    element?.focus({ preventScroll: true });
    this.#scrollTo(id, { isGentle: true });
    redraw();
  }

  /** Scroll a task to the middle; gently: only as far as it is out of sight. */
  #scrollTo(id, { isGentle = false } = {}) {
    const box = this.#box;
    const place = this.#layout?.places[id];
    if (!box || !place) return;
    const [left, top] = place.map((one) => one * this.zoom);
    const [width, height] = SIZE.map((one) => one * this.zoom);
    const isSeen = left >= box.scrollLeft && top >= box.scrollTop && left + width <= box.scrollLeft + box.clientWidth && top + height <= box.scrollTop + box.clientHeight;
    if (isGentle && isSeen) return;
    box.scrollTo(left + width / 2 - box.clientWidth / 2, top + height / 2 - box.clientHeight / 2);
  }

  // -- drawing -----------------------------------------------------------------------------------

  render() {
    if (this.error) return html`<p class="refused" role="alert">${this.error}</p>`;
    const layout = this.#layout;
    if (!layout) return html`<div class="graph waiting" role="status"><p class="quiet">Arranging ${this.#tasks.size} tasks…</p></div>`;
    const ids = Object.keys(layout.places).filter((id) => this.#tasks.has(id));
    // Many boxes at once would hold up the page: they come in over some frames.
    this.#drawn = Math.min(ids.length, this.#drawn + BATCH);
    if (this.#drawn < ids.length) redraw();
    else if (this.#wanted) this.#reach();
    const drawn = this.#drawn;
    const detail = this.zoom >= WITH_TITLES ? "full" : this.zoom >= WITH_IDS ? "ids" : "none";
    this.#focused = this.#tasks.has(this.#focused) ? this.#focused : (ids[0] ?? "");
    return html`<div class="graph ${detail}" data-zoom=${this.zoom.toFixed(3)} data-drawn=${drawn} data-arranged=${layout.number} data-layout=${layout.milliseconds.toFixed(0)}
        @wheel=${this.#onWheel} @touchstart=${this.#onTouch} @touchmove=${this.#onTouch} @touchend=${this.#onTouch}
        @pointerdown=${this.#onDown} @pointermove=${this.#onMove} @pointerup=${this.#onUp} @pointercancel=${this.#onUp} @keydown=${this.#onKey}>
      ${guard([this.#version, drawn], () => html`<svg width=${layout.width * this.zoom} height=${layout.height * this.zoom} viewBox="0 0 ${layout.width} ${layout.height}" role="group" aria-label="Dependency graph: arrow keys follow it, Enter opens a task">
        <g>${layout.paths.map((path) => this.#line(path))}</g>
        <g font-size=${detail === "ids" ? ID_PIXELS / this.zoom : nothing}>${repeat(ids.slice(0, drawn), (id) => id, (id) => this.#node(this.#tasks.get(id), layout.places[id], detail))}</g>
      </svg>`)}
    </div>`;
  }

  #reach() {
    const wanted = this.#wanted;
    this.#wanted = "";
    requestAnimationFrame(() => {
      if (wanted.startsWith("~")) this.#scrollTo(wanted.slice(1));
      else this.#focus(wanted);
    });
  }

  #line([before, after, d]) {
    const from = this.#tasks.get(before)?.standing;
    const isMet = from === "merged" || from === "closed";
    const isDim = this.#matches && !(this.#matches.has(before) && this.#matches.has(after));
    const kind = this.#critical.has(`${before} ${after}`) ? "critical" : isMet ? "met" : "";
    return svg`<path class="edge ${kind} ${isDim ? "dim" : ""}" d=${d} />`;
  }

  #node(task, [x, y], detail) {
    const { shape, tone } = taskLook(task.standing);
    const isDim = this.#matches && !this.#matches.has(task.id);
    const facts = [words(task.standing), task.is_outside ? `of ${task.plan_id}` : "", task.is_critical ? "on the critical path" : "", task.session, task.merge_status].filter(Boolean).join(", ");
    const kind = `${tone} ${task.standing} ${task.is_critical ? "critical" : ""} ${task.is_outside ? "outside" : ""} ${isDim ? "dim" : ""}`;
    const [width, height] = SIZE;
    return svg`<a class="node ${kind}" href="#/task/${task.id}" data-node=${task.id} tabindex=${task.id === this.#focused ? 0 : -1} transform="translate(${x} ${y})" aria-label="${task.id} ${task.title}: ${facts}">
      <title>${task.id} ${task.title}\n${facts}</title>
      <rect width=${width} height=${height} rx="6" />
      ${detail === "full"
        ? svg`<g class="icon" transform="translate(10 7)">${shapeOf(shape)}</g>
          <text class="node-id" x="32" y="19">${task.id}</text>
          <text class="node-who" x=${width - 10} y="19" text-anchor="end">${cut(beside(task), width - 90, 11)}</text>
          <text class="node-title" x="10" y="38">${cut(task.title, width - 20, 13)}</text>`
        : detail === "ids"
          ? svg`<text class="node-id" x=${width / 2} y=${height / 2} text-anchor="middle" dominant-baseline="central">${task.id}</text>`
          : nothing}
    </a>`;
  }
}

/** What stands beside an id: who works on it, or what it waits for. */
function beside(task) {
  if (task.session) return task.session;
  if (task.merge_request) return task.merge_request;
  return task.is_outside ? task.plan_id : "";
}

// -- text that fits --------------------------------------------------------------------------------

const pen = document.createElement("canvas").getContext("2d");
const cuts = new Map();
const MOST_CUTS = 20_000;

/** The text, cut with an ellipsis where it would be wider than `width`. */
function cut(text, width, size) {
  const key = `${size} ${width} ${text}`;
  let found = cuts.get(key);
  if (found === undefined) {
    if (cuts.size > MOST_CUTS) cuts.clear();
    pen.font = `${size === 13 ? 500 : 400} ${size}px ${getComputedStyle(document.documentElement).fontFamily}`;
    found = text;
    if (pen.measureText(text).width > width) {
      // As many characters as there is room for; whole ones, so that none is torn in two.
      const characters = [...text.slice(0, 120)];
      let [least, most] = [0, characters.length];
      while (least < most) {
        const middle = Math.ceil((least + most) / 2);
        if (pen.measureText(`${characters.slice(0, middle).join("")}…`).width <= width) least = middle;
        else most = middle - 1;
      }
      found = `${characters.slice(0, least).join("").trimEnd()}…`;
    }
    cuts.set(key, found);
  }
  return found;
}
