// Closing an API or a caller for an hour with one click, and what is closed.
import { ago, badge, h } from "/static/views.js";

const HOUR = 3600;

// `close(name, spec)` asks the server. The button says what came of it.
function closing(text, what, spec, close) {
  const told = h("p", { class: "dim", role: "status" });
  const button = h("button", { type: "button", class: "quiet", onclick: async () => {
    button.disabled = true;
    const until = new Date(Date.now() + HOUR * 1000).toISOString().replace(/\.\d+/, "");
    const name = `${what.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60).replace(/-+$/, "") || "all"}-${Date.now()}`;
    try {
      const found = await close(name, { ...spec, until, reason: "Closed for now by the security team." });
      told.textContent = [`Closed until ${new Date(Date.now() + HOUR * 1000).toLocaleTimeString()}; the Quarantine page opens it again.`, ...found.notes].join(" ");
    } catch (error) {
      told.textContent = error.message;
      button.disabled = false;
    }
  } }, text);
  return h("section", {}, h("h3", {}, "Quarantine"), button, told);
}

export function operation(api, close) {
  const tool = api.protocol === "mcp" && api.operation?.startsWith("tools/call ") ? api.operation.slice("tools/call ".length) : "";
  const scope = { services: [api.service], operations: [`${api.method} ${api.template}`] };
  if (tool) return closing("Close this tool for an hour", `${api.service} ${tool}`, { scope, tools: [tool] }, close);
  return closing("Close this API for an hour", `${api.service} ${api.method} ${api.template}`, { scope }, close);
}

export const caller = (actor, close) => closing("Shut this caller out for an hour", actor, { scope: { identities: { actors: [actor] } } }, close);

const said = (spec) => [...(spec.scope?.services ?? []), ...(spec.scope?.operations ?? []), ...Object.values(spec.scope?.identities ?? {}).flat(), ...(spec.tools ?? [])].join(", ");

export function closed(list, now, lift) {
  const rows = list.map((one) => h("tr", {},
    h("td", {}, one.name), h("td", { class: "mono" }, said(one.spec)), h("td", {}, one.over ? badge("over", "") : (one.spec.until ?? "until it is lifted")),
    h("td", { class: "dim nowrap" }, ago(one.since, now)), h("td", { class: "dim" }, one.who.name ?? one.who.by), h("td", {}, one.spec.reason ?? ""),
    h("td", {}, h("button", { type: "button", class: "quiet", onclick: () => lift(one.name) }, "Lift"))));
  const head = h("div", { class: "card-head" }, h("h2", {}, "Closed by hand"), h("p", { class: "dim" }, "Before every other policy, on every engine; services in enforce mode refuse such calls."));
  if (!rows.length) return [head, h("div", { class: "empty" }, h("strong", {}, "Nothing is in quarantine"), h("span", {}, "The pages of an API and of an identity close it with one click."))];
  return [head, h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Quarantine" },
    h("table", {}, h("thead", {}, h("tr", {}, ...["Name", "What", "Until", "Since", "By", "Reason", ""].map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, ...rows)))];
}
