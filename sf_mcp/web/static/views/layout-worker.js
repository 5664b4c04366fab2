/**
 * Where the tasks of a plan are drawn, computed beside the page: left to right, what waits to the
 * right of what it waits for. Tasks that nothing joins stand in rows below.
 *
 * Asked `{number, ids, edges: [[before, after]], size: [width, height]}`, answers
 * `{number, width, height, places: {id: [x, y]}, paths: [[before, after, d]], milliseconds}`, with
 * the upper left corner of each task, or `{number, error}`.
 */

import { Graph, layout } from "../vendor/dagre/dagre.esm.js";

const MARGIN = 16;
const GAP = { between: 14, ranks: 56 };
const PRECISE_MOST = 250; // tasks; above it the faster of dagre's rankers

self.onmessage = ({ data }) => {
  const { number } = data;
  try {
    const began = performance.now();
    self.postMessage({ number, ...arranged(data), milliseconds: performance.now() - began });
  } catch (error) {
    self.postMessage({ number, error: String(error) });
  }
};

function arranged({ ids, edges, size: [width, height] }) {
  const joined = new Set(edges.flat());
  const places = {};
  const paths = [];
  let right = 0;
  let bottom = 0;
  if (joined.size) {
    const graph = new Graph();
    const ranker = joined.size > PRECISE_MOST ? "tight-tree" : "network-simplex";
    graph.setGraph({ rankdir: "LR", nodesep: GAP.between, edgesep: 8, ranksep: GAP.ranks, ranker });
    graph.setDefaultEdgeLabel(() => ({}));
    for (const id of ids) if (joined.has(id)) graph.setNode(id, { width, height });
    for (const [before, after] of edges) graph.setEdge(before, after);
    layout(graph);
    for (const id of graph.nodes()) {
      const { x, y } = graph.node(id);
      places[id] = [Math.round(x - width / 2) + MARGIN, Math.round(y - height / 2) + MARGIN];
      right = Math.max(right, places[id][0] + width);
      bottom = Math.max(bottom, places[id][1] + height);
    }
    for (const [before, after] of edges) {
      const [from, to] = [places[before], places[after]];
      const between = graph.edge(before, after).points.slice(1, -1).map(({ x, y }) => [Math.round(x) + MARGIN, Math.round(y) + MARGIN]);
      const ends = [[from[0] + width, from[1] + height / 2], [to[0], to[1] + height / 2]];
      paths.push([before, after, curve(ends[0], between.length > 1 ? between : [], ends[1])]);
    }
  }
  const single = ids.filter((id) => !joined.has(id));
  if (single.length) {
    const [across, down] = [width + GAP.between, height + GAP.between];
    const square = Math.ceil(Math.sqrt((single.length * down) / across));
    const columns = Math.min(single.length, Math.max(square, Math.floor((right + GAP.between) / across), 3));
    const top = bottom ? bottom + GAP.ranks : MARGIN;
    single.forEach((id, index) => {
      places[id] = [MARGIN + (index % columns) * across, top + Math.floor(index / columns) * down];
      right = Math.max(right, places[id][0] + width);
      bottom = Math.max(bottom, places[id][1] + height);
    });
  }
  return { width: right + MARGIN, height: bottom + MARGIN, places, paths };
}

/** A smooth line from the right of one box to the left of another: level at each of its points. */
function curve(first, between, last) {
  let [x, y] = first;
  const parts = [`M${x} ${y}`];
  for (const [nextX, nextY] of [...between.filter((point) => point[0] > first[0] && point[0] < last[0]), last]) {
    const middle = (x + nextX) / 2;
    parts.push(nextY === y ? `H${nextX}` : `C${middle} ${y} ${middle} ${nextY} ${nextX} ${nextY}`);
    [x, y] = [nextX, nextY];
  }
  return parts.join("");
}
