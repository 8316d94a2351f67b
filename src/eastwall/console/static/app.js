// State, requests, polling. What is drawn is in views.js.
import * as blueprint from "/static/blueprint.js";
import { graph } from "/static/graph.js";
import * as quarantine from "/static/quarantine.js";
import { approvals } from "/static/approvals.js";
import { policies } from "/static/policies.js";
import * as views from "/static/views.js";

const POLL = 1000;
const POLL_HIDDEN = 15000;
const MOST_ROWS = 400;
const $ = (id) => document.getElementById(id);
const BLUEPRINT_MS = 5000;
const GRAPH_MS = 30000; // of thousands of APIs it is megabytes
const state = { live: null, apis: [], revision: "", drawn: {}, timer: 0, openHash: "", shownHash: "", view: "overview", viewText: "", viewAt: 0, words: [] };

class Refused extends Error {
  constructor(status, text) { super(text); this.status = status; }
}

async function request(method, path, body) {
  const headers = { "x-eastwall": "console", accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(`/api/v1${path}`, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin", cache: "no-store" });
  if (answer.status === 204) return null;
  let value = null;
  try { value = await answer.json(); } catch { value = null; }
  if (!answer.ok) throw new Refused(answer.status, value?.detail ?? `the server answered ${answer.status}`);
  return value;
}

// -- signing in --------------------------------------------------------------------------------------------------

function showSignIn() {
  clearTimeout(state.timer);
  $("console").hidden = true;
  $("signin").hidden = false;
  $("token").focus();
}

$("signin-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const fault = $("signin-fault");
  fault.hidden = true;
  try {
    await request("POST", "/session", { token: $("token").value });
    $("token").value = "";
    start();
  } catch (error) {
    fault.textContent = error instanceof Refused ? error.message : "Eastwall does not answer; is it running?";
    fault.hidden = false;
    $("token").select();
  }
});

$("signout").addEventListener("click", async () => {
  try { await request("DELETE", "/session"); } finally { showSignIn(); }
});

// -- polling -----------------------------------------------------------------------------------------------------

function start() {
  $("signin").hidden = true;
  $("console").hidden = false;
  poll();
  openFromHash();
}

async function poll() {
  clearTimeout(state.timer);
  try {
    state.live = await request("GET", "/live");
    const revision = `${state.live.revision}`;
    if (revision !== state.revision) {
      state.apis = await request("GET", "/apis");
      state.revision = revision;
    }
    draw();
    await drawView(false);
    const text = views.banner(state.live);
    showBanner(text);
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return showSignIn();
    const last = state.live ? ` Last answer ${new Date(state.live.time * 1000).toLocaleTimeString()}.` : "";
    showBanner(error instanceof Refused ? error.message : `Control does not answer. Calls go on under the last snapshot.${last}`);
  }
  state.timer = setTimeout(poll, document.hidden ? POLL_HIDDEN : POLL);
  return undefined;
}

document.addEventListener("visibilitychange", () => { if (!document.hidden && !$("console").hidden) poll(); });

function showBanner(text) {
  const banner = $("banner");
  if (banner.textContent !== text) banner.textContent = text;
  banner.hidden = !text;
}

// -- drawing -----------------------------------------------------------------------------------------------------

// Redraws a list only where an item changed, so that focus, hover and scroll position stay.
function keyed(parent, name, items, key, make) {
  const before = state.drawn[name] ?? new Map();
  const after = new Map();
  const nodes = items.map((item) => {
    const id = key(item);
    const text = JSON.stringify(item);
    const old = before.get(id);
    const entry = old && old.text === text ? old : { text, node: make(item) };
    if (old && entry !== old && old.node.contains(document.activeElement)) {
      // The focused item itself changed: put the focus on the same place of the new one.
      const focusable = [...old.node.querySelectorAll("button, input")].indexOf(document.activeElement);
      queueMicrotask(() => entry.node.querySelectorAll("button, input")[focusable]?.focus({ preventScroll: true }));
    }
    after.set(id, entry);
    return entry.node;
  });
  state.drawn[name] = after;
  const same = parent.children.length === nodes.length && nodes.every((node, index) => parent.children[index] === node);
  if (!same) parent.replaceChildren(...nodes);
}

function draw() {
  const { live } = state;
  const rate = live.series.slice(-5);
  $("rate").textContent = views.count(Math.round(rate.reduce((sum, point) => sum + point[1], 0) / Math.max(1, rate.length)));
  views.spark($("spark"), live.series);
  $("health").replaceChildren(...views.health(live));
  $("tiles").replaceChildren(...views.tiles(live));
  keyed($("services"), "services", live.services, (service) => service.name, (service) => views.serviceRow(service, changeMode));
  drawApis();
  drawEvents();
}

function drawApis() {
  const { live, apis } = state;
  const filter = $("filter").value.trim();
  const found = filter ? apis.filter((api) => views.apiMatches(api, filter)) : apis;
  const shown = found.slice(0, MOST_ROWS);
  keyed($("apis").tBodies[0], "apis", shown, (api) => api.id, (api) => views.apiRow(api, live.time, (a) => { location.hash = `api/${a.id}`; }));
  $("apis").hidden = !found.length;
  $("apis-empty").hidden = found.length > 0;
  if (!found.length) $("apis-empty").replaceChildren(...views.noApis(live.services, apis.length > 0));
  $("apis-count").textContent = found.length > shown.length ? `${views.count(shown.length)} of ${views.count(found.length)}; filter to see others` : views.count(found.length);
}

function drawEvents() {
  const { live } = state;
  const choice = $("severity").value;
  const found = live.events.filter((event) => (choice === "blocked" ? event.action === "block" || event.action === "limit" : views.SEVERITIES.indexOf(event.severity) + 1 >= Number(choice)));
  // The age is part of the drawn row: rows of the last hour are drawn again as it changes.
  const rows = found.map((event) => ({ ...event, age: views.ago(event.time, live.time) }));
  keyed($("events"), "events", rows, (event) => event.id, (event) => views.eventRow(event, live.time, (e) => { location.hash = `event/${e.id}`; }));
  $("events-empty").hidden = found.length > 0;
  if (!found.length) $("events-empty").replaceChildren(...views.noEvents(live, live.events.length > 0));
  $("events-count").textContent = views.count(found.length) + (live.events.length >= 200 ? " newest" : "");
}

$("filter").addEventListener("input", () => state.live && drawApis());
$("severity").addEventListener("change", () => state.live && drawEvents());

// -- the other views ---------------------------------------------------------------------------------------------

const VIEWS = {
  changes: { ask: () => "/changes", draw: (list) => blueprint.changes(list, state.live.time) },
  identities: { ask: () => "/identities?limit=500", draw: (list) => blueprint.identities(list, state.live.time) },
  data: { ask: () => "/data", draw: (list) => blueprint.data(list) },
  baselines: { ask: () => "/baselines", draw: (value) => blueprint.baselines(value, state.live.time, decide) },
  quarantine: { ask: () => ["/quarantine", "/approvals"], draw: ([list, calls]) => [...approvals(calls, state.live.time, approve), ...quarantine.closed(list, state.live.time, lift)] },
  policies: { ask: () => ["/policy", "/policy/history", "/audit?limit=300"], draw: (values) => policies(values, state.live.time, policyActs) },
  paths: { ask: () => "/paths?limit=50", draw: (list) => blueprint.paths(list) },
  graph: { every: GRAPH_MS, ask: () => "/graph", draw: (value) => graph(value, state.words, filterGraph) },
};

async function decide(path, body) {
  try {
    await request("POST", path, body);
    state.viewText = "";
    await drawView(true);
  } catch (error) {
    showBanner(error.message);
  }
}

async function approve(id, body) {
  try {
    await request("PUT", `/approvals/${encodeURIComponent(id)}`, body);
    state.viewText = "";
    await drawView(true);
  } catch (error) {
    showBanner(error.message);
  }
}

async function lift(name) {
  try {
    await request("DELETE", `/quarantine/${encodeURIComponent(name)}`);
    state.viewText = "";
    await drawView(true);
  } catch (error) {
    showBanner(error.message);
  }
}

const close = (name, spec) => request("PUT", `/quarantine/${encodeURIComponent(name)}`, spec);
const policyActs = {
  suggest: () => request("GET", "/policy/suggestion"),
  back: async (digest) => {
    if (!(await confirm(`Roll back to ${digest}?`, "It is checked against what is known today, and is in force on every engine within a second.", "Roll back"))) return;
    await decide("/policy/rollback", { to: digest });
  },
  rearm: (name) => decide(`/policy/rearm/${encodeURIComponent(name)}`),
};

async function judge(event, judgement) {
  const said = await request("POST", `/calls/${encodeURIComponent(event)}/feedback`, { judgement });
  return `${said.said}. (${said.state}; undo with: eastwall feedback undo ${said.id})`;
}

async function filterGraph(words) {
  state.words = words;
  try {
    await drawView(true);
  } catch (error) {
    showBanner(error.message);
  }
  $("view-graph").querySelector("input").focus(); // the one that was typed into is gone
}

async function drawView(now) {
  const view = VIEWS[state.view];
  if (!view || (!now && performance.now() - state.viewAt < (view.every ?? BLUEPRINT_MS))) return;
  const wanted = state.view;
  const asked = view.ask();
  const value = Array.isArray(asked) ? await Promise.all(asked.map((path) => request("GET", path))) : await request("GET", asked);
  if (state.view !== wanted) return;
  state.viewAt = performance.now();
  const text = JSON.stringify([wanted, value, state.words]);
  const panel = $(`view-${wanted}`);
  // What is the same stays: a redraw would take focus, selection and scroll position away.
  if (text === state.viewText || (!now && panel.contains(document.activeElement))) return;
  state.viewText = text;
  panel.replaceChildren(...view.draw(value).filter(Boolean));
}

async function showView(name) {
  state.view = name;
  state.viewText = "";
  for (const tab of $("tabs").children) {
    const on = tab.dataset.view === name;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
    $(`view-${tab.dataset.view}`).hidden = !on;
  }
  try {
    await drawView(true);
  } catch (error) {
    if (error instanceof Refused && error.status === 401) showSignIn();
    else showBanner(error.message);
  }
}

$("tabs").addEventListener("click", (event) => { const tab = event.target.closest("[data-view]"); if (tab) showView(tab.dataset.view); });
$("tabs").addEventListener("keydown", (event) => {
  const tabs = [...$("tabs").children];
  const here = tabs.indexOf(document.activeElement);
  const to = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  const next = tabs[(to + tabs.length) % tabs.length];
  next.focus();
  showView(next.dataset.view);
});

// -- modes -------------------------------------------------------------------------------------------------------

async function changeMode(service, mode) {
  if (mode === "enforce" && !(await confirm(`Enforce on ${service.name}?`, "From now on calls that a policy stops are answered by Eastwall instead of the service.", "Enforce"))) {
    delete state.drawn.services;
    draw();
    return;
  }
  try {
    await request("PUT", `/services/${encodeURIComponent(service.name)}/mode`, { mode });
    await poll();
  } catch (error) {
    showBanner(error.message);
    delete state.drawn.services;
    draw();
  }
}

function confirm(title, text, yes) {
  const dialog = $("confirm");
  $("confirm-title").textContent = title;
  $("confirm-text").textContent = text;
  $("confirm-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

// -- the detail panel: #event/ID, #api/ID and #identity/NAME, so that it can be linked to ----------------------------------------

async function openFromHash() {
  const [kind, ...rest] = location.hash.slice(1).split("/");
  let id = rest.join("/");
  try { id = decodeURIComponent(id); } catch { /* a link that somebody typed: taken as it is */ }
  const panel = $("panel");
  if (!id || !["event", "api", "identity"].includes(kind)) { if (panel.open) panel.close(); return; }
  const wanted = location.hash;
  state.openHash = wanted;
  let title = kind === "event" ? `Why: ${id}` : kind === "identity" ? id : "API";
  let body;
  try {
    if (kind === "event") body = views.why(await request("GET", `/calls/${encodeURIComponent(id)}`), (word) => judge(id, word));
    else if (kind === "identity") body = [...blueprint.identity(await request("GET", `/identities/${encodeURIComponent(id)}`)), quarantine.caller(id, close)];
    else {
      const api = await request("GET", `/apis/${encodeURIComponent(id)}`);
      body = [...views.apiDetail(api), quarantine.operation(api, close)];
    }
  } catch (error) {
    if (error instanceof Refused && error.status === 401) { showSignIn(); return; }
    title = "Not found";
    body = [views.h("p", {}, error.message)];
  }
  if (state.openHash !== wanted) return;
  state.shownHash = wanted;
  $("panel-title").textContent = title;
  $("panel-body").replaceChildren(...body);
  if (!panel.open) panel.showModal();
}

$("panel-close").addEventListener("click", () => $("panel").close());
$("panel").addEventListener("click", (event) => { if (event.target === $("panel")) $("panel").close(); });
$("panel").addEventListener("close", () => {
  // The browser tells of the closing later: a link that was followed meanwhile is not of this panel and stays.
  if (location.hash !== state.shownHash) return;
  state.openHash = "";
  history.replaceState(null, "", location.pathname);
});
window.addEventListener("hashchange", openFromHash);

try {
  if ((await request("GET", "/session")).signed_in) start();
  else showSignIn();
} catch (error) {
  showSignIn();
}
