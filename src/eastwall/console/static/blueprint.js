// The views beside APIs and findings: changes, who calls, sensitive data, attack paths. Drawn when looked at.
import { ago, badge, count, h, method, template } from "/static/views.js";

const MOST = 500;
const NUMBERS = new Set(["Calls", "APIs", "Sure"]);
const STRENGTH = ["nobody said who", "guessed", "asserted", "verified"];
const STRENGTH_KIND = ["bad", "warn", "info", "ok"];

export const STATE_KIND = { shadow: "bad", zombie: "bad", ghost: "warn", managed: "ok", observed: "" };
const FLAG_KIND = { unauthenticated: "bad", "missing-authentication": "bad", "internet-facing": "warn", "agent-reachable": "warn", admin: "warn", orphan: "warn", deprecated: "warn", "old-version": "warn", vanished: "warn", "third-party": "info", new: "info" };
const CHANGE_KIND = { new: "info", changed: "warn", vanished: "bad", returned: "ok" };

export const stateBadge = (state) => badge(state, STATE_KIND[state] ?? "");
export const flagBadge = (flag) => badge(flag, FLAG_KIND[flag] ?? "");

export function risk(score, level) {
  return h("span", { class: `risk ${["low", "medium", "high", "critical"].includes(level) ? level : ""}`, title: `risk ${score} of 100` }, String(score));
}

const head = (title, note, ...more) => h("div", { class: "card-head" }, h("h2", {}, title), note ? h("p", { class: "dim" }, note) : null, ...more);
const empty = (title, text) => h("div", { class: "empty" }, h("strong", {}, title), h("span", {}, text));
const operation = (item) => h("span", { class: "operation" }, method(item.method), template(item.template), item.operation ? h("span", { class: "operation-name" }, item.operation) : null, h("span", { class: "service" }, item.service));

function grid(columns, rows, label) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    h("table", {}, h("thead", {}, h("tr", {}, ...columns.map((name) => h("th", { scope: "col", class: NUMBERS.has(name) ? "num" : null }, name)))), h("tbody", {}, ...rows)));
}

function cut(list) {
  return list.length > MOST ? ` The first ${count(MOST)} of ${count(list.length)} are shown.` : "";
}

function openApi(id, ...children) {
  return h("button", { class: "api", type: "button", onclick: () => { location.hash = `api/${id}`; } }, ...children);
}

export function changes(list, now) {
  const rows = list.slice(0, MOST).map((c) => h("tr", {},
    h("td", { class: "dim nowrap", title: new Date(c.time * 1000).toLocaleString() }, ago(c.time, now)), h("td", {}, badge(c.kind, CHANGE_KIND[c.kind] ?? "")),
    h("td", {}, c.endpoint ? openApi(c.endpoint, operation(c)) : h("span", { class: "service" }, c.service)), h("td", {}, c.detail)));
  return [head("What is new, changed or gone", `Newest first.${cut(list)}`), rows.length ? grid(["When", "What", "API", "Detail"], rows, "Changes") : empty("Nothing changed", "What appears, changes or goes after a service was first learned is told here.")];
}

export function identities(list, now) {
  const rows = list.slice(0, MOST).map((who) => h("tr", {},
h("td", { class: "who" }, h("button", { class: "api", type: "button", onclick: () => { location.hash = `identity/${encodeURIComponent(who.actor)}`; } }, h("span", { class: "template" }, who.actor))),
    h("td", {}, badge(who.kind, who.kind === "agent" ? "data" : ""), " ", who.cls === who.kind ? null : h("span", { class: "dim" }, who.cls)),
    h("td", {}, badge(STRENGTH[who.strength] ?? "", STRENGTH_KIND[who.strength] ?? "")), h("td", { class: "num" }, count(who.calls)), h("td", { class: "num" }, count(who.operations.length)),
    h("td", {}, h("span", { class: "badges" }, ...who.data_classes.map((name) => badge(name, "data")))), h("td", { class: "dim nowrap" }, ago(who.last_seen, now))));
  return [head("Who calls", `Most calls first.${cut(list)}`), rows.length ? grid(["Identity", "Class", "Proved", "Calls", "APIs", "Data given", "Last seen"], rows, "Identities") : empty("Nobody called yet", "Every caller shows up here: people, workloads, agents, keys and addresses.")];
}

export function identity(who) {
  const row = (name, ...values) => (values.filter(Boolean).length ? [h("dt", {}, name), h("dd", {}, ...values)] : []);
  return [
    h("dl", { class: "facts" },
      ...row("proved", badge(STRENGTH[who.strength] ?? "", STRENGTH_KIND[who.strength] ?? "")), ...row("class", who.cls), ...row("calls", `${count(who.calls)} from ${count(who.sources)} addresses`),
      ...row("first seen", new Date(who.first_seen * 1000).toLocaleString()), ...row("last seen", new Date(who.last_seen * 1000).toLocaleString()),
      ...row("services", who.services.join(", ")), ...row("data given", who.data_classes.length ? h("span", { class: "badges" }, ...who.data_classes.map((name) => badge(name, "data"))) : null), ...row("agents", who.agents.join(", ")), ...row("credentials", who.faults.join(", "))),
    h("section", {}, h("h3", {}, "What it does"), h("table", { class: "fields" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "API"), h("th", { scope: "col", class: "num" }, "Calls"))),
      h("tbody", {}, ...who.operations.map((o) => h("tr", {}, h("td", {}, openApi(o.endpoint, h("span", { class: "template" }, o.title))), h("td", { class: "num" }, count(o.calls))))))),
  ];
}

export function data(list) {
  const rows = list.slice(0, MOST).map((flow) => h("tr", {},
    h("td", {}, badge(flow.data_class, "data")), h("td", {}, flow.direction, ...(flow.egress ? [" ", badge("third party", "bad")] : [])), h("td", {}, openApi(flow.endpoint, operation(flow))),
    h("td", { class: "mono" }, flow.place), h("td", { class: "num" }, `${Math.round(flow.confidence * 100)} %`),
    h("td", { class: "dim" }, flow.callers.slice(0, 4).map(([caller, calls]) => `${caller} (${count(calls)})`).join(", ") + (flow.callers.length > 4 ? `, ${flow.callers.length - 4} more` : ""))));
  return [head("Where sensitive data flows", `Per field and direction. Values are never stored.${cut(list)}`), rows.length ? grid(["Class", "Direction", "API", "Field", "Sure", "To or from"], rows, "Data flows") : empty("No sensitive data seen yet", "Card numbers, e-mail addresses, national ids, secrets and more are recognised in every field of every message.")];
}

export function paths(list) {
  const hop = (path, at) => {
    const ends = path.cut.includes(path.nodes[at]);
    const operation = path.nodes[at].startsWith("operation:") ? path.nodes[at].slice("operation:".length) : "";
    const attributes = { class: ends ? "hop cut" : "hop", title: ends ? "an end of the cheapest cut" : null };
    return operation ? h("button", { ...attributes, type: "button", onclick: () => { location.hash = `api/${operation}`; } }, path.labels[at]) : h("span", attributes, path.labels[at]);
  };
  const items = list.map((path, index) => h("li", { class: "path-item" },
    h("div", { class: "path-head" }, h("span", { class: "dim" }, `${index + 1}`), risk(Math.round(path.score), path.score >= 75 ? "critical" : path.score >= 50 ? "high" : path.score >= 25 ? "medium" : "low"),
      h("span", { class: "chain" }, ...path.labels.flatMap((_, at) => [at ? h("span", { class: "arrow", role: "img", "aria-label": "leads to" }, "→") : null, hop(path, at)]).filter(Boolean))),
    path.reasons.length ? h("ul", { class: "reasons" }, ...path.reasons.map((reason) => h("li", {}, reason))) : null,
    path.advice ? h("p", { class: "topass" }, h("strong", {}, "Cheapest cut: "), path.advice) : null));
  return [head("Attack paths", "From where an attacker can stand to what is worth stealing or ruling; worst first. Dashed: where it is cut at the least cost."), items.length ? h("ol", { class: "paths" }, ...items) : empty("No attack path", "Nothing sensitive is reached from the internet or by an agent, as far as was seen. Say what faces the internet with `exposure` in a Service policy.")];
}

// What calls are judged by, and what waits to change it. `act(path, body)` asks the server and draws anew.
export function baselines(known, now, act) {
  const services = known.services.map((s) => h("tr", {},
    h("td", {}, h("span", { class: "service" }, s.service)), h("td", { class: "num" }, count(s.version)), h("td", { class: "num" }, count(s.operations)),
    h("td", {}, Object.entries(s.held).map(([model, things]) => `${model} ${things}`).join(", ")),
    h("td", {}, ...(s.pinned ? [badge(`pinned to version ${s.pinned}`, "warn"), " ", button("Unpin", () => act(`/baselines/${encodeURIComponent(s.service)}/unpin`))] : [s.deployed ? `deploy ${ago(s.deployed, now)}` : ""]))));
  const rows = known.candidates.slice(0, MOST).map((c) => h("tr", {},
    h("td", {}, h("span", { class: "service" }, c.service)), h("td", {}, c.model ? badge(c.model) : null, c.model ? " " : null, c.what, h("p", { class: "dim" }, `was: ${c.was}; would be: ${c.would}`)), h("td", {}, c.why),
    h("td", {}, badge(c.state, c.state === "waiting" ? "" : "warn")),
    h("td", {}, button("Take in", () => act(`/baselines/candidates/${c.id}/promote`)), " ", c.state === "rejected" ? null : button("Keep out", () => act(`/baselines/candidates/${c.id}/reject`)))));
  return [
    head("Baselines", "What calls are judged by. What would loosen it waits until callers agree."),
    services.length ? grid(["Service", "Version", "APIs", "Held of models", "State"], services, "Baselines") : empty("No API is learned yet", "Each gets a baseline as soon as it is."),
    head("Candidates", `Most callers first.${cut(known.candidates)}`),
    rows.length ? grid(["Service", "What", "Evidence, and what it waits for", "State", "Decide"], rows, "Candidates") : empty("Nothing waits", "A property, a function or a value that a class never used shows up here with who uses it."),
  ];
}

function button(text, onclick) {
  return h("button", { type: "button", class: "quiet", onclick }, text);
}
