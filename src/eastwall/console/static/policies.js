// Policies: what is in force, what was, what was done by whom, and what the traffic suggests.
import { ago, badge, count, h } from "/static/views.js";

const MOST = 300;
const head = (title, note) => h("div", { class: "card-head" }, h("h2", {}, title), h("p", { class: "dim" }, note));
const grid = (names, rows, label) => h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
  h("table", {}, h("thead", {}, h("tr", {}, ...names.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, ...rows)));
const button = (text, onclick) => h("button", { type: "button", class: "quiet", onclick }, text);
const cut = (list) => (list.length > MOST ? ` The first ${count(MOST)} of ${count(list.length)}.` : "");
const by = (who) => who?.name || who?.by || "";

// `suggest()` gives the suggested YAML; `back(digest)` applies an earlier set; `rearm(name)` lets a policy that stepped back act again.
export function policies([known, past, audit], now, { suggest, back, rearm }) {
  const written = known.policies.filter((p) => !p.name.startsWith("builtin/"));
  const rows = written.slice(0, MOST).map((p) => h("tr", {},
    h("td", {}, p.name), h("td", {}, p.kind),
    h("td", {}, p.mode ?? "", ...(p.stepped_back ? [" ", badge("stepped back", "warn"), " ", button("Re-arm", () => rearm(p.name))] : [])),
    h("td", { class: "mono dim" }, p.location)));
  const sets = past.slice(0, MOST).map((set) => h("tr", {},
    h("td", { class: "mono" }, set.digest, ...(set.current ? [" ", badge("in force")] : [])), h("td", { class: "dim nowrap" }, ago(set.time, now)),
    h("td", {}, by(set.who)), h("td", {}, set.origin?.commit ? h("span", { class: "mono" }, set.origin.commit.slice(0, 12)) : ""),
    h("td", { class: "num" }, count(set.count)), h("td", {}, set.change_text), h("td", {}, set.current ? "" : button("Roll back to this", () => back(set.digest)))));
  const acts = audit.slice(-MOST).reverse().map((entry) => h("tr", {},
    h("td", { class: "num" }, count(entry.seq)), h("td", { class: "dim nowrap" }, ago(entry.time, now)), h("td", {}, entry.act), h("td", {}, by(entry.who)),
    h("td", { class: "dim" }, brief(entry.about))));
  return [
    head("Policies", `What is in force${known.digest ? `: set ${known.digest}` : ""}. The lower of a policy's mode and its service's holds.${cut(written)}`),
    rows.length ? grid(["Name", "Kind", "Mode", "Written in"], rows, "Policies") : empty("None of your own yet", "Let the traffic suggest some, or start from examples/policies. The built-in ones act on findings."),
    head("From the traffic", "Least privilege from what was seen in the last seven days, in monitor mode: a file to read, replay and apply."),
    suggestion(suggest),
    head("History", "Each set that was applied. Rolling back checks it against what is known today."),
    sets.length ? grid(["Set", "When", "By", "Commit", "Policies", "Change", ""], sets, "History") : empty("Nothing was applied yet", "eastwall policy apply DIR"),
    head("Audit log", "Chained: a line that is altered or missing shows. Check it anywhere with eastwall audit verify."),
    acts.length ? grid(["No.", "When", "Act", "By", "About"], acts, "Audit log") : empty("Nothing was done yet", "What changes policies or modes is written here."),
  ];
}

function suggestion(suggest) {
  const text = h("pre", { class: "mono", tabindex: "0", hidden: true });
  const said = h("p", { class: "dim", role: "status" });
  const ask = button("Suggest policies", async () => {
    ask.disabled = true;
    try {
      const found = await suggest();
      text.textContent = found.yaml;
      text.hidden = false;
      said.textContent = `${count(found.policies.length)} policies from ${count(found.calls)} calls. Save them as a file: eastwall policy suggest --out suggested.yaml`;
    } catch (error) {
      said.textContent = error.message;
    }
    ask.disabled = false;
  });
  return h("section", { class: "suggestion" }, ask, said, text);
}

const empty = (title, note) => h("div", { class: "empty" }, h("strong", {}, title), h("span", {}, note));

function brief(about) {
  const words = Object.entries(about ?? {}).filter(([, value]) => value !== "" && value !== null && typeof value !== "object").map(([name, value]) => `${name} ${value}`);
  return words.join(", ").slice(0, 300);
}
