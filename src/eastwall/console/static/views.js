// Everything that becomes visible. Values come from traffic, so from attackers: they enter the page as text nodes or through
// `setAttribute` with names from this file, never as markup.

export const SEVERITIES = ["info", "low", "medium", "high", "critical"];
const METHOD = /^[A-Z]{1,20}$/;
const RECENT = 600;
const STATE_NOTE = { ghost: "ghost: never called", shadow: "shadow: not in its spec", zombie: "zombie: ought to be gone" };
const FLAGS = { "internet-facing": "warn", "agent-reachable": "warn", admin: "warn", "missing-authentication": "bad", vanished: "warn", "old-version": "warn", "third-party": "info" };
const LEVELS = ["low", "medium", "high", "critical"];
const numbers = new Intl.NumberFormat("en");

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick" || name === "onchange") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

export const count = (value) => numbers.format(value ?? 0);

export function bytes(value) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let index = 0;
  while (value >= 1000 && index < units.length - 1) { value /= 1000; index += 1; }
  return `${value >= 100 || index === 0 ? Math.round(value) : value.toFixed(1)} ${units[index]}`;
}

export function ago(seconds, now) {
  const age = Math.max(0, now - seconds);
  if (age < 60) return `${Math.floor(age)} s ago`;
  if (age < 3600) return `${Math.floor(age / 60)} min ago`;
  if (age < 86400) return `${Math.floor(age / 3600)} h ago`;
  return new Date(seconds * 1000).toLocaleDateString();
}

export const badge = (text, kind = "") => h("span", { class: `badge ${kind}` }, text);
export const method = (name) => h("span", { class: `method ${METHOD.test(name) ? name.toLowerCase() : ""}` }, name);

export function template(text) {
  // `{name}` stands out; everything else is plain text.
  const parts = text.split(/(\{[^{}/]*\})/).filter(Boolean);
  // Long paths break after a slash before they break within a word.
  const broken = (part) => part.split(/(?<=\/)/).flatMap((piece) => [piece, h("wbr")]);
  return h("span", { class: "template" }, ...parts.flatMap((part) => (part.startsWith("{") && part.endsWith("}") ? [h("b", {}, part)] : broken(part))));
}

const severityKind = (severity) => ({ critical: "bad", high: "bad", medium: "warn" })[severity] ?? "info";
const actionKind = (action) => ({ block: "bad", limit: "bad", redact: "data" })[action] ?? "";
const ACTION = { block: "blocked", limit: "limited", redact: "redacted", allow: "passed" };

// -- header ------------------------------------------------------------------------------------------------------

export function health(live) {
  const items = [];
  const alive = live.engines.filter((engine) => engine.alive).length;
  if (live.engines.length) items.push(badge(`${alive} of ${live.engines.length} engine${live.engines.length > 1 ? "s" : ""}`, alive === live.engines.length ? "ok" : "bad"));
  else items.push(badge("no engine runs", "warn"));
  items.push(badge(`snapshot ${live.snapshot.version}`));
  if (live.spool.pending_bytes > 1e6) items.push(badge(`${bytes(live.spool.pending_bytes)} waiting`, "warn"));
  if (live.spool.lost_records) items.push(badge(`${count(live.spool.lost_records)} records lost`, "bad"));
  return items.map((item) => h("li", {}, item));
}

export function banner(live) {
  return Object.entries(live.faults).map(([part, text]) => `${part}: ${text}`).join("\n");
}

export function spark(svg, series) {
  const ns = "http://www.w3.org/2000/svg";
  const top = Math.max(1, ...series.map((point) => point[1]));
  const x = (index) => (index * 240) / Math.max(1, series.length - 1);
  const y = (value) => 33 - (value / top) * 30;
  const points = series.map((point, index) => `${x(index).toFixed(1)},${y(point[1]).toFixed(1)}`);
  const shape = (name, attributes) => {
    const element = document.createElementNS(ns, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const marks = series.flatMap((point, index) => (point[2] ? [shape("rect", { class: "bad", x: x(index) - 1, y: 33.5, width: 2, height: 2.5 })] : []));
  svg.replaceChildren(
    shape("polygon", { class: "area", points: `0,33 ${points.join(" ")} 240,33` }),
    shape("polyline", { class: "line", points: points.join(" ") }),
    ...marks,
  );
}

// -- tiles -------------------------------------------------------------------------------------------------------

export function tiles(live) {
  const tile = (label, value, note, kind = "") => h("div", { class: `tile ${kind}` }, h("span", { class: "label" }, label), h("span", { class: "value" }, value), h("span", { class: "note" }, note));
  const lake = live.lake;
  const blind = live.uninspected;
  const reasons = Object.entries(blind.by_reason).slice(0, 3).map(([reason, n]) => `${count(n)} ${reason}`).join(", ");
  const more = Object.keys(blind.by_reason).length - 3;
  return [
    tile("APIs found", count(live.learner.endpoints), live.learner.learning ? `${count(live.learner.learned)} learned, ${count(live.learner.learning)} still learning` : "all learned"),
    tile("Calls", count(lake.calls), `${bytes(lake.bytes)} stored`),
    tile("Findings", count(lake.findings), `in ${count(lake.flagged)} calls`, lake.findings ? "bad" : ""),
    tile("Stopped", count(lake.blocked), lake.redacted ? `blocked or limited; ${count(lake.redacted)} redacted` : "blocked or limited", lake.blocked ? "good" : ""),
    blind.total
      ? tile("NOT INSPECTED", count(blind.total), reasons + (more > 0 ? `, ${more} more reasons` : ""), "loud")
      : tile("Not inspected", "0", "every call was read whole"),
  ];
}

// -- services ----------------------------------------------------------------------------------------------------

export function serviceRow(service, onMode) {
  const choose = (mode) => {
    const input = h("input", { type: "radio", name: `mode-${service.name}`, value: mode, checked: service.mode === mode });
    input.addEventListener("change", () => onMode(service, mode));
    return h("label", { class: mode }, input, mode);
  };
  const where = service.address ? `${service.address} · ` : "";
  return h("li", {},
    h("div", {}, h("div", { class: "name" }, service.name), h("div", { class: "sub" }, `${where}${count(service.endpoints)} API${service.endpoints === 1 ? "" : "s"} · ${count(service.calls)} calls · fail\u00a0${service.fail}`)),
    h("fieldset", { class: "modes", "aria-label": `Mode of ${service.name}` }, choose("discover"), choose("monitor"), choose("enforce")));
}

// -- APIs --------------------------------------------------------------------------------------------------------

export function apiRow(api, now, open) {
  const marks = [];
  if (STATE_NOTE[api.state]) marks.push(badge(STATE_NOTE[api.state], api.state === "ghost" ? "warn" : "bad"));
  if (api.origin !== "declared" && now - api.first_seen < RECENT) marks.push(badge("new", "info"));
  else if (api.status === "learning" && api.origin !== "declared") marks.push(badge("learning"));
  if (api.login) marks.push(badge("sign-in", "info"));
  for (const flag of api.flags) if (FLAGS[flag]) marks.push(badge(flag, FLAGS[flag]));
  const share = api.authenticated;
  const auth = api.origin === "declared" || api.identifiable === 0 ? h("span", { class: "dim" }, "–")
    : share === 0 ? badge("open to anyone", "warn")
    : h("span", { class: "auth" }, h("progress", { max: 1, value: share, "aria-label": "share of signed-in calls" }), `${share >= 0.9995 ? 100 : Math.min(99, Math.round(share * 100))} %`);
  const operation = api.operation && api.protocol !== "grpc" ? h("span", { class: "operation-name" }, api.operation) : null;
  const protocol = api.protocol !== "rest" ? badge(api.protocol, "info") : null;
  return h("tr", {},
    h("td", {}, h("button", { class: "api", type: "button", onclick: () => open(api) }, method(api.method), h("span", {}, template(api.template), " ", operation, " ", h("span", { class: "service" }, api.service), " ", h("span", { class: "badges" }, protocol, ...marks)))),
    h("td", { class: "num" }, h("span", { class: `risk ${LEVELS.includes(api.risk_level) ? api.risk_level : ""}` }, String(api.risk))),
    h("td", { class: "num" }, count(api.calls)),
    h("td", {}, auth),
    h("td", {}, h("span", { class: "badges" }, ...api.data_classes.map((name) => badge(name, "data")))));
}

export function apiMatches(api, filter) {
  const text = [api.service, api.method, api.template, api.operation, api.protocol, api.status, api.origin, api.state, ...api.flags, api.owner, api.risk_level, api.login ? "sign-in" : "", ...api.data_classes].join(" ").toLowerCase();
  return filter.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

export function noApis(services, filtered) {
  if (filtered) return [h("strong", {}, "No API matches"), h("span", {}, "Clear the filter to see all.")];
  const service = services.find((s) => s.address);
  return [
    h("strong", {}, "No API seen yet"),
    h("span", {}, "Send traffic through Eastwall; every API shows up here about a second after its first call."),
    service ? h("code", {}, `curl ${service.address}/`) : h("code", {}, "eastwall up --upstream NAME=http://127.0.0.1:9000"),
  ];
}

// -- findings ----------------------------------------------------------------------------------------------------

export function eventRow(event, now, open) {
  const names = event.findings.map((finding) => finding.id);
  const what = names.length ? [...new Set(names)].join(", ") : event.policies.map((p) => p.policy)[0] ?? ACTION[event.would];
  const outcome = event.action === "allow" && event.would !== "allow" ? badge(`would be ${ACTION[event.would] ?? event.would}`, "warn") : badge(ACTION[event.action] ?? event.action, actionKind(event.action));
  return h("li", {}, h("button", { class: `event ${SEVERITIES.includes(event.severity) ? event.severity : ""}`, type: "button", onclick: () => open(event) },
    h("span", { class: "bar", "aria-hidden": "true" }),
    h("span", { class: "what" }, what),
    h("span", { class: "when" }, ago(event.time, now)),
    h("span", { class: "path" }, `${event.method} ${event.path}`),
    h("span", { class: "who" }, outcome, event.severity ? badge(event.severity, severityKind(event.severity)) : null, h("span", {}, `${event.actor || event.source} → ${event.service}`))));
}

export function noEvents(live, filtered) {
  if (filtered) return [h("strong", {}, "None of this kind"), h("span", {}, "Choose “all” to see the others.")];
  const learning = live.services.some((s) => s.mode === "discover");
  return [h("strong", {}, "Nothing suspicious yet"), h("span", {}, learning
    ? "Findings show up here as they happen. A service in discover is only watched; switch it to monitor to see what would be stopped."
    : "Findings show up here as they happen.")];
}

// -- the detail panel --------------------------------------------------------------------------------------------

const section = (title, ...children) => h("section", {}, h("h3", {}, title), ...children);

function facts(pairs) {
  const list = h("dl", { class: "facts" });
  for (const [name, value] of pairs) {
    if (value === "" || value === null || value === undefined || (Array.isArray(value) && !value.length)) continue;
    list.append(h("dt", {}, name), h("dd", {}, value instanceof Node ? value : Array.isArray(value) ? value.join(", ") : String(value)));
  }
  return list;
}

const STRENGTH = ["nobody said", "guessed, unchecked", "asserted by a trusted peer", "verified"];

// `judge(judgement)` says that the call was `fine` or an `attack`, and gives what follows from it in words.
export function why(event, judge) {
  const held = event.action === "allow" && event.would !== "allow";
  // The first lines say what was done (and would have been); the rest is told below in its own sections.
  const sentence = event.explanation.slice(0, event.action === event.would ? 1 : 2).join("; ");
  const parts = [
    h("div", { class: `verdict ${held ? "would" : ["block", "limit", "redact"].includes(event.action) ? event.action : ""}` }, sentence.charAt(0).toUpperCase() + sentence.slice(1)),
    h("div", { class: "call-line" }, method(event.method), h("span", { class: "template" }, event.path)),
  ];
  if (event.to_pass.length) parts.push(section("What would make it pass", ...event.to_pass.map((text) => h("p", { class: "topass" }, text))));
  parts.push(section("Who",
    facts([["caller", event.actor], ["how sure", STRENGTH[event.strength]], ["class", event.actor_class], ["roles", event.roles], ["chain", event.principals], ["credentials", event.identity_faults], ["address", event.source], ["user agent", event.user_agent]])));
  if (event.findings.length) parts.push(section(event.findings.length > 1 ? "Findings" : "Finding", ...event.findings.map(finding)));
  if (event.findings.length && judge) parts.push(section("What do you say?", judgement(event, judge)));
  if (event.matches.length) parts.push(section("Policies", ...event.matches.map(match)));
  parts.push(section("What",
    facts([
      ["event", h("code", {}, event.id)], ["time", new Date(event.time * 1000).toISOString()], ["service", event.service], ["API", event.template], ["status", event.status || "none sent"],
      ["size", `${bytes(event.request_bytes)} in, ${bytes(event.response_bytes)} out`], ["took", `${(event.duration_us / 1000).toFixed(1)} ms, ${event.decide_us} µs of it deciding`],
      ["query names", event.query_names], ["body", event.properties], ["objects", event.used.map((use) => `${use[1]} in ${use[0]}`)],
      ["data", event.data.map((hit) => `${hit.data_class} in ${hit.place} (${hit.masked})`)], ["not inspected", event.uninspected.length ? badge(event.uninspected.join(", "), "warn") : ""],
      ["trace", event.trace], ["decided by", event.snapshot ? `engine ${event.engine}, snapshot ${event.snapshot}` : "no engine"],
    ])));
  parts.push(h("p", { class: "dim" }, "On the command line: ", h("code", {}, `eastwall why ${event.id}`)));
  return parts;
}

function judgement(event, judge) {
  const said = h("p", { role: "status" });
  const say = (word) => async () => {
    said.textContent = "…";
    try { said.textContent = await judge(word); } catch (error) { said.textContent = error.message; }
  };
  return h("div", { class: "judgement" },
    h("button", { type: "button", class: "quiet", onclick: say("fine") }, "This was fine"), " ",
    h("button", { type: "button", class: "quiet", onclick: say("attack") }, "This was an attack"), said);
}

function finding(f) {
  return h("div", { class: "item" },
    h("div", { class: "item-head" }, badge(f.severity, severityKind(f.severity)), h("span", {}, f.title ?? f.id), h("span", { class: "dim" }, `in ${f.where}`)),
    h("p", {}, f.message),
    f.evidence ? h("div", { class: "evidence" }, f.evidence) : null,
    h("span", { class: "badges" }, badge(`confidence ${f.confidence}`), ...f.owasp.map((id) => badge(id)), ...(f.cwe ?? []).map((id) => badge(id)), ...(f.attack ?? []).map((id) => badge(id))));
}

function match(m) {
  return h("div", { class: "item" },
    h("div", { class: "item-head" }, badge(m.action, actionKind(m.action)), h("span", {}, m.policy), m.mode === "enforce" ? null : badge(`${m.mode} only`, "warn")),
    h("p", {}, m.reason),
    h("span", { class: "dim mono" }, `${m.kind} · ${m.location}`));
}

export function apiDetail(api) {
  const parts = [
    h("div", { class: "call-line" }, method(api.method), template(api.template), h("span", { class: "service" }, api.service)),
    api.operation && api.protocol !== "grpc" ? h("p", { class: "mono" }, api.operation) : null,
    section("Where it stands", h("div", { class: "badges" }, badge(api.lifecycle.state, { shadow: "bad", zombie: "bad", ghost: "warn", managed: "ok" }[api.lifecycle.state] ?? ""), ...api.lifecycle.flags.map((flag) => badge(flag, FLAGS[flag] ?? ""))),
      h("ul", { class: "reasons" }, ...api.lifecycle.reasons.map((reason) => h("li", {}, reason))),
      facts([["owner", api.lifecycle.owner], ["repository", api.lifecycle.repository], ["environment", api.lifecycle.environment], ["exposure", api.lifecycle.exposure]])),
    section(`Risk ${api.risk.score} of 100: ${api.risk.level}`, h("ul", { class: "reasons" }, ...api.risk.reasons.map((reason) => h("li", {}, h("span", { class: "points" }, `+${reason.points}`), reason.text)))),
    api.drift.length ? section("Differs from what is declared", ...api.drift.slice(0, 50).map((d) => h("div", { class: "item" }, h("div", { class: "item-head" }, badge(d.kind, d.severity === "high" ? "bad" : d.severity === "medium" ? "warn" : "info")), h("p", {}, d.message)))) : null,
    api.callers.length ? section("Who calls it", facts(api.callers.slice(0, 12).map((c) => [c.caller, `${count(c.calls)} calls`]))) : null,
    section("Use", facts([["protocol", [...new Set([api.protocol, ...api.traits, ...api.body_kinds])]],
      ["calls", count(api.calls)], ["callers", count(api.actors)], ["signed in", `${Math.round(api.authenticated * 100)} %`], ["status", api.status], ["origin", api.origin],
      ["answers", api.statuses.map(([status, n]) => `${status} × ${count(n)}`)], ["first seen", api.first_seen ? new Date(api.first_seen * 1000).toLocaleString() : ""], ["last seen", api.last_seen ? new Date(api.last_seen * 1000).toLocaleString() : ""],
      ["parameters", api.parameters.map((p) => `${p.name} (${p.kind})`)], ["id", h("code", {}, api.id)],
    ])),
  ];
  if (api.objects.length) parts.push(section("Objects it names", ...api.objects.map((o) => h("div", { class: "item" }, h("div", { class: "item-head" }, h("span", {}, `${o.kind} in ${o.place}`), badge(o.exclusive ? "belongs to one caller" : "shared", o.exclusive ? "ok" : "")), o.evidence ? h("p", { class: "dim" }, o.evidence) : null))));
  const schemas = [["Query", api.query], ["Request body", api.request], ...api.responses.map(([status, schema]) => [`Response ${status}`, schema])];
  for (const [title, schema] of schemas) if (schema.fields.length) parts.push(section(`${title}, from ${count(schema.samples)} samples`, fields(schema.fields)));
  if (api.selection.length) parts.push(section("Fields asked for", facts(api.selection.slice(0, 200).map(([path, n]) => [path, count(n)]))));
  return parts.filter((part) => part !== null);
}

function fields(list) {
  const rows = list.slice(0, 200).map((f) => h("tr", {},
    h("td", { class: "mono" }, f.place), h("td", {}, f.kinds.join(" | ") + (f.format ? ` (${f.format})` : "") + (f.enum.length ? `: ${f.enum.join(", ")}` : "")),
    h("td", {}, !f.seen ? "never seen" : f.of && f.seen === f.of ? "always" : f.of ? `${Math.round((100 * f.seen) / f.of)} %` : ""), h("td", {}, f.data_class ? badge(f.data_class, "data") : "")));
  return h("table", { class: "fields" }, h("thead", {}, h("tr", {}, ...["Field", "Kind", "There", "Data"].map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, ...rows));
}
