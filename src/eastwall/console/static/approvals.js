// Tool calls of agents that wait until somebody approves them, and what was said of others in the last day.
import { ago, badge, h } from "/static/views.js";

const caller = (one) => (one.agent && one.agent !== one.actor ? `${one.actor} by ${one.agent}` : one.actor);
const given = (values) => Object.entries(values).map(([name, value]) => `${name}=${value}`).join(", ") || "(not shown)";
const table = (label, names, rows) => h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
  h("table", {}, h("thead", {}, h("tr", {}, ...names.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, ...rows)));

// `say(id, body)` tells the server.
export function approvals(found, now, say) {
  if (!found.waiting.length && !found.given.length) return [];
  const act = (one, text, body) => h("button", { type: "button", class: "quiet", onclick: () => say(one.id, body) }, text);
  const waiting = found.waiting.map((one) => h("tr", {},
    h("td", { class: "mono" }, `${one.service} ${one.tool}`), h("td", { class: "mono" }, given(one.arguments)), h("td", {}, caller(one)),
    h("td", {}, one.why), h("td", { class: "dim nowrap" }, ago(one.time, now)),
    h("td", { class: "nowrap" }, act(one, "Once", { decision: "grant" }), act(one, "For 10 minutes", { decision: "grant", seconds: 600 }), act(one, "Refuse", { decision: "deny" }))));
  const said = found.given.map((one) => h("tr", {},
    h("td", { class: "mono" }, `${one.service} ${one.tool}`), h("td", {}, caller(one)), h("td", {}, badge(one.state, "")),
    h("td", { class: "dim nowrap" }, ago(one.granted, now)), h("td", { class: "dim" }, one.who.name || one.who.by)));
  return [
    h("div", { class: "card-head" }, h("h2", {}, "Tool calls that wait for approval"), h("p", { class: "dim" }, "The same call of the same caller passes once it is approved.")),
    waiting.length ? table("Waiting for approval", ["Tool", "Arguments", "Caller", "Why", "Asked", ""], waiting)
      : h("div", { class: "empty" }, h("strong", {}, "Nothing waits for approval")),
    said.length ? table("Said in the last day", ["Tool", "Caller", "", "When", "By"], said) : null,
  ];
}
