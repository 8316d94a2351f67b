// The graph as layers: callers, services, operations, then data and third parties. Labels are from traffic: text nodes only.
import { count, h } from "/static/views.js";

const NS = "http://www.w3.org/2000/svg";
const LAYER = { internet: 0, identity: 0, service: 1, operation: 2, data: 3, external: 3 };
const TITLES = ["Callers", "Services", "Operations", "Data and third parties"];
const MOST = 60;
const ROW = 24;
const FIRST_SIGHT = 200;
const WIDTH = 1200;
const X = [20, 300, 540, 1000];

function svg(tag, attributes, ...children) {
  const element = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const pen = document.createElement("canvas").getContext("2d");

function width(text) {
  pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  return pen.measureText(text).width;
}

const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

function chosen(graph, words) {
  const matches = (node) => words.every((word) => `${node.label} ${node.kind} ${node.flags.join(" ")}`.toLowerCase().includes(word));
  const degree = new Map();
  for (const edge of graph.edges) for (const end of [edge.source, edge.target]) degree.set(end, (degree.get(end) ?? 0) + edge.calls);
  const near = new Set();
  if (words.length) {
    const hits = new Set(graph.nodes.filter(matches).map((node) => node.id));
    for (const id of hits) near.add(id);
    for (const edge of graph.edges) { if (hits.has(edge.source)) near.add(edge.target); if (hits.has(edge.target)) near.add(edge.source); }
  }
  const pool = words.length ? graph.nodes.filter((node) => near.has(node.id)) : graph.nodes;
  const layers = [[], [], [], []];
  for (const node of pool) if (node.kind in LAYER) layers[LAYER[node.kind]].push(node);
  let left = 0;
  const kept = layers.map((layer) => {
    layer.sort((a, b) => b.risk - a.risk || (degree.get(b.id) ?? 0) - (degree.get(a.id) ?? 0) || (a.id < b.id ? -1 : 1));
    left += Math.max(0, layer.length - MOST);
    return layer.slice(0, MOST).sort((a, b) => (a.label < b.label ? -1 : a.label > b.label ? 1 : 0));
  });
  return { kept, left };
}

const MARKS = new Set(["internet-facing", "agent-reachable", "admin", "agent", "third-party"]);

function label(node, home) {
  // What holds for a whole service is told once, at the service.
  const marks = node.flags.filter((flag) => MARKS.has(flag) && !home?.flags.includes(flag));
  return short(node.label, node.kind === "operation" ? 56 : 30) + (marks.length ? ` · ${marks.join(" · ")}` : "");
}

function bundled(edges, service) {
  // Callers' edges to the operations of one service as one; the single ones are drawn when a node is chosen.
  const sums = new Map();
  for (const edge of edges) {
    if (edge.kind !== "calls" || !service.has(edge.target)) continue;
    const target = service.get(edge.target);
    if (target === edge.source) continue;
    const key = `${edge.source}\n${target}`;
    const known = sums.get(key) ?? { source: edge.source, target, kind: "bundle", calls: 0, evidence: "", confidence: 1 };
    known.calls += edge.calls;
    sums.set(key, known);
  }
  return [...sums.values()];
}

function order(layers, edges) {
  // Two passes of the barycentre heuristic (Sugiyama): each node near the middle of its neighbours in the layer before.
  const rank = new Map();
  layers.forEach((layer) => layer.forEach((node, at) => rank.set(node.id, at / Math.max(1, layer.length))));
  for (let pass = 0; pass < 2; pass += 1) {
    for (const layer of [layers[1], layers[2], layers[3], layers[0]]) {
      const middle = new Map(layer.map((node) => {
        const near = edges.flatMap((edge) => (edge.source === node.id ? [rank.get(edge.target)] : edge.target === node.id ? [rank.get(edge.source)] : [])).filter((r) => r !== undefined);
        return [node.id, near.length ? near.reduce((sum, r) => sum + r, 0) / near.length : rank.get(node.id)];
      }));
      layer.sort((a, b) => middle.get(a.id) - middle.get(b.id) || (a.id < b.id ? -1 : 1));
      layer.forEach((node, at) => rank.set(node.id, at / Math.max(1, layer.length)));
    }
  }
}

function level(layer, edges, at, x, bottom, lowest) {
  // Each node beside the middle of what it is tied to, as far as those above and below it leave room.
  const middle = new Map(layer.map((node) => {
    const near = edges.flatMap((edge) => (edge.source === node.id ? [at.get(edge.target)] : edge.target === node.id ? [at.get(edge.source)] : [])).filter(Boolean);
    return [node.id, Math.min(lowest, near.length ? near.reduce((sum, point) => sum + point[1], 0) / near.length : 50)];
  }));
  layer.sort((a, b) => middle.get(a.id) - middle.get(b.id) || (a.id < b.id ? -1 : 1));
  let free = 50;
  layer.forEach((node, row) => {
    const y = Math.min(Math.max(middle.get(node.id), free), bottom - (layer.length - 1 - row) * ROW);
    at.set(node.id, [x, Math.max(y, free)]);
    free = Math.max(y, free) + ROW;
  });
}

export function graph(value, words, onFilter) {
  const input = h("input", { type: "search", placeholder: "Filter: service, path, class ...", "aria-label": "Filter the graph" });
  input.value = words.join(" ");
  input.addEventListener("change", () => onFilter(input.value.toLowerCase().split(/\s+/).filter(Boolean)));
  const { kept, left } = chosen(value, words);
  const here = new Set(kept.flat().map((node) => node.id));
  const edges = value.edges.filter((edge) => here.has(edge.source) && here.has(edge.target));
  const service = new Map(edges.filter((edge) => edge.kind === "has").map((edge) => [edge.target, edge.source]));
  const drawn = [...edges, ...bundled(edges, service)];
  order(kept, drawn);
  // Operations stand together by service, in the order of the services; the others near what they are tied to.
  const place = new Map(kept[1].map((node, at) => [node.id, at]));
  kept[2].sort((a, b) => (place.get(service.get(a.id)) ?? 99) - (place.get(service.get(b.id)) ?? 99) || (a.label < b.label ? -1 : 1));
  const note = `${count(value.nodes.length)} nodes, ${count(value.edges.length)} edges.${left ? ` The ${count(left)} least risky are left out; filter to see them.` : ""} Choose a node to see what reaches it and what it reaches; Escape shows all again.`;
  const open = h("button", { type: "button", class: "quiet", hidden: true });
  const top = h("div", { class: "card-head graph-head" }, h("h2", {}, "Graph"), open, input, h("p", { class: "dim note" }, note));
  if (!here.size) return [top, h("div", { class: "empty" }, h("strong", {}, words.length ? "Nothing matches" : "No calls seen yet"))];
  const height = 50 + ROW * Math.max(...kept.map((layer) => layer.length));
  const at = new Map(kept[2].map((node, row) => [node.id, [X[2], 50 + row * ROW]]));
  // Callers stand where a reader begins: in a tall picture the middle of what they call would be out of sight.
  for (const column of [1, 3, 0]) level(kept[column], drawn, at, X[column], height - ROW, column ? height : FIRST_SIGHT);
  const homes = new Map(kept[1].map((node) => [node.id, node]));
  const text = new Map(kept.flat().map((node) => [node.id, label(node, homes.get(service.get(node.id)))]));
  const widths = new Map([...text].map(([id, shown]) => [id, width(shown)]));
  const lines = drawn.map((edge) => {
    const [x1, y1] = at.get(edge.source);
    const [x2, y2] = at.get(edge.target);
    const from = x1 < x2 ? Math.min(x1 + 17 + widths.get(edge.source), x2 - 30) : x1 - 8;
    const bend = x1 === x2 ? 40 : Math.abs(x2 - from) / 2;
    const kind = { carries: "data", "leads-to": "leads", calls: service.has(edge.target) ? "direct" : "" }[edge.kind] ?? "";
    const line = svg("path", { class: `edge ${kind}`, d: `M${from},${y1} C${from + (x1 === x2 ? -bend : bend)},${y1} ${x2 - bend},${y2} ${x2 - 8},${y2}`, "stroke-width": (1 + Math.log10(1 + edge.calls) / 2).toFixed(2) });
    line.append(svg("title", {}, `${edge.kind}: ${edge.calls} calls${edge.evidence ? `, ${edge.evidence}` : ""}${edge.confidence < 1 ? `, ${Math.round(edge.confidence * 100)} % sure` : ""}`));
    return { edge, line };
  });
  const picture = svg("svg", { class: "graph", viewBox: `0 0 ${WIDTH} ${height}`, role: "group", "aria-label": "Graph of callers, services, operations and data" });
  picture.append(...TITLES.map((title, column) => svg("text", { class: "layer", x: X[column], y: 22 }, title)), ...lines.map((item) => item.line));
  const nodes = new Map();
  const reach = (start, forward) => {
    const found = new Set([start]);
    const queue = [start];
    while (queue.length) {
      const id = queue.pop();
      for (const edge of !forward && id === start ? drawn : edges) {
        const next = forward ? (edge.source === id ? edge.target : "") : edge.target === id ? edge.source : "";
        if (!next || found.has(next)) continue;
        found.add(next);
        // Who calls other operations of its service does not reach this one.
        if (forward || edge.kind !== "has") queue.push(next);
      }
    }
    return found;
  };
  const all = () => {
    picture.classList.remove("chosen");
    for (const element of nodes.values()) element.setAttribute("aria-pressed", "false");
    open.hidden = true;
  };
  const choose = (node) => {
    if (nodes.get(node.id).getAttribute("aria-pressed") === "true") { all(); return; }
    const { id } = node;
    const down = reach(id, true);
    const up = reach(id, false);
    picture.classList.add("chosen");
    for (const [key, element] of nodes) {
      element.classList.toggle("on", down.has(key) || up.has(key));
      element.setAttribute("aria-pressed", String(key === id));
    }
    open.hidden = node.kind !== "operation";
    open.textContent = `Open ${short(node.label, 60)}`;
    open.onclick = () => { location.hash = `api/${id.slice("operation:".length)}`; };
    for (const { edge, line } of lines) line.classList.toggle("on", (down.has(edge.source) && down.has(edge.target)) || (up.has(edge.source) && up.has(edge.target)));
  };
  for (const node of kept.flat()) {
    const [x, y] = at.get(node.id);
    const element = svg("g", { class: `node ${node.kind} ${node.risk >= 50 ? "risky" : ""}`, tabindex: "0", role: "button", "aria-pressed": "false", "aria-label": `${node.kind} ${node.label}` },
      svg("circle", { cx: x, cy: y, r: 5 }), svg("text", { x: x + 11, y: y + 4 }, text.get(node.id)));
    element.append(svg("title", {}, `${node.kind} ${node.label}${node.flags.length ? ` (${node.flags.join(", ")})` : ""}${node.risk ? `, risk ${node.risk}` : ""}`));
    element.addEventListener("click", () => choose(node));
    element.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(node); } else if (event.key === "Escape") all(); });
    nodes.set(node.id, element);
    picture.append(element);
  }
  picture.addEventListener("click", (event) => { if (event.target === picture) all(); });
  return [top, h("div", { class: "scroll graph-scroll", tabindex: "0", role: "region", "aria-label": "Graph" }, picture)];
}
