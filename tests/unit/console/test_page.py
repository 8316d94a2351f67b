"""The console's page in a real browser: signing in, what it shows, hostile values inert, modes, keyboard, control away."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from msgspec.structs import replace

from eastwall.stores.snapshots import FileSnapshotStore

from .processes import EXPOSED, HOSTILE_ACTOR, HOSTILE_PATH, MARKUP, SCRIPT, Process, attack, call, discovered, write

pytest.importorskip("chdb", reason="control is in the extra eastwall[all]")
pytest.importorskip("fastapi", reason="control is in the extra eastwall[all]")
playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is a development dependency")

CHROMIUM = (
    os.environ.get("EASTWALL_TEST_CHROMIUM")
    or shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine (name one with EASTWALL_TEST_CHROMIUM)")
expect = playwright_api.expect

expect.set_options(timeout=20_000)  # the machine that runs this may have two busy cores


@pytest.fixture(scope="module")
def browser():
    with playwright_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield started
        started.close()


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    opened = context.new_page()
    opened.faults = []
    opened.on("pageerror", lambda error: opened.faults.append(str(error)))
    opened.on("dialog", lambda dialog: (opened.faults.append(f"dialog {dialog.message}"), dialog.dismiss()))
    opened.on(
        "request", lambda request: opened.faults.append(f"left for {request.url}") if "127.0.0.1" not in request.url else None
    )
    opened.on("console", lambda m: opened.faults.append(m.text) if m.type == "error" and "Content Security" in m.text else None)
    yield opened
    assert opened.faults == []
    context.close()


def sign_in(page, control):
    page.goto(control.url)
    page.get_by_label("Token").fill(control.token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#apis tbody tr").first).to_be_visible()


def test_a_wrong_token_is_told_and_the_right_one_lets_in(page, served):
    page.goto(served.url)
    expect(page.get_by_label("Token")).to_be_focused()
    expect(page.locator("#console")).to_be_hidden()
    page.get_by_label("Token").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("is not the token")
    sign_in(page, served)
    page.reload()
    expect(page.locator("#apis tbody tr").first).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Token")).to_be_visible()


def test_it_shows_apis_totals_and_findings(page, served):
    sign_in(page, served)
    rows = page.locator("#apis tbody tr")
    row = rows.filter(has_text="/orders/{order_id}")
    expect(row).to_have_count(1)
    expect(row.locator(".template b")).to_have_text("{order_id}")
    expect(row.locator("td.num").last).to_have_text("100")
    tiles = page.locator("#tiles")
    expect(tiles).to_contain_text("201")
    expect(tiles.locator(".loud")).to_contain_text("NOT INSPECTED")
    expect(tiles.locator(".loud")).to_contain_text("1 request-body-truncated")
    expect(page.locator("#events .event")).to_have_count(1)
    expect(page.locator("#events .event")).to_contain_text("sql-injection")
    page.get_by_label("Filter APIs").fill("get billing")
    expect(rows.filter(has_text="orders")).to_have_count(0)
    expect(rows.filter(has_text="/invoices/")).to_have_count(1)
    page.get_by_label("Filter APIs").fill("no such thing")
    expect(page.locator("#apis-empty")).to_contain_text("No API matches")
    if folder := os.environ.get("EASTWALL_TEST_SCREENSHOTS"):
        page.get_by_label("Filter APIs").fill("")
        page.screenshot(path=Path(folder) / "console.png")


def test_values_from_attackers_are_text(page, served):
    sign_in(page, served)
    event = page.locator("#events .event")
    expect(event).to_contain_text(HOSTILE_PATH)
    expect(event).to_contain_text(HOSTILE_ACTOR)
    event.click()
    body = page.locator("#panel-body")
    expect(body).to_contain_text("<script>window.pwned=1</script>")
    expect(body).to_contain_text("<svg onload=window.pwned=1>")
    expect(body).to_contain_text("the value closes <i>a string</i>")
    assert page.evaluate("window.pwned") is None
    assert (
        page.locator("#console img[src='x'], #panel img, #panel script, #panel i, #console b[onmouseover], #panel svg").count()
        == 0
    )


def test_the_policy_forbids_inline_script_and_other_origins(page, served):
    sign_in(page, served)
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.pwned=1\">')")
    page.evaluate("const s = document.createElement('script'); s.textContent = 'window.pwned=2'; document.body.append(s)")
    left = page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', (e) => 'refused')")
    page.wait_for_timeout(300)
    assert page.evaluate("window.pwned") is None
    assert left == "refused"
    assert any("Content Security" in fault for fault in page.faults)
    page.faults.clear()


def test_why_tells_who_what_which_policy_and_what_would_pass(page, served):
    sign_in(page, served)
    page.locator("#events .event").focus()
    page.keyboard.press("Enter")
    panel = page.locator("#panel")
    expect(panel).to_be_visible()
    for text in (
        "blocked",
        "orders-guard",
        "policies/orders.yaml:14",
        "send q without SQL",
        served.attack.id,
        "verified",
        "10.0.0.7",
    ):
        expect(panel).to_contain_text(text)
    assert page.url.endswith(f"#event/{served.attack.id}")
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    page.wait_for_function("location.hash === ''")  # the same link again is a new one from here on
    page.goto(f"{served.url}/#event/{served.attack.id}")
    expect(panel).to_be_visible()
    page.get_by_role("button", name="Close").click()
    page.locator("#apis tbody tr", has_text="/orders/{order_id}").get_by_role("button").click()
    expect(panel).to_contain_text("order_id (integer)")


def test_the_mode_is_switched_with_a_question_before_enforce(page, served):
    served.send("PUT", "/api/v1/services/all/mode", {"mode": "discover"})
    sign_in(page, served)
    modes = page.get_by_role("group", name="Mode of orders")
    expect(modes.get_by_label("discover")).to_be_checked()
    modes.get_by_label("monitor").check()
    expect(modes.get_by_label("monitor")).to_be_checked()
    served.until("/api/v1/services", lambda s: {x["name"]: x["mode"] for x in s}["orders"] == "monitor")
    modes.get_by_label("enforce").click()
    question = page.get_by_role("dialog", name="Enforce on orders?")
    question.get_by_role("button", name="Cancel").click()
    expect(modes.get_by_label("monitor")).to_be_checked()
    modes.get_by_label("enforce").click()
    question.get_by_role("button", name="Enforce").click()
    expect(modes.get_by_label("enforce")).to_be_checked()
    wanted = {"orders": "enforce", "billing": "discover"}
    served.until("/api/v1/services", lambda s: {x["name"]: x["mode"] for x in s}.items() >= wanted.items())
    served.send("PUT", "/api/v1/services/all/mode", {"mode": "discover"})
    expect(modes.get_by_label("discover")).to_be_checked()


def test_contrast_of_text_is_enough_in_light_and_dark(browser, known):
    # WCAG 2.2 AA, 1.4.3: 4.5 to 1 for text below 18.66 px bold.
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)
        page = context.new_page()
        sign_in(page, known)
        poor = page.evaluate(CONTRAST)
        assert poor == [], scheme
        for view in ("changes", "identities", "data", "paths", "graph"):
            look(page, view)
            poor = page.evaluate(CONTRAST)
            assert poor == [], (scheme, view)
        context.close()


CONTRAST = """() => {
  const parse = (c) => { const m = c.match(/[\\d.]+/g).map(Number); return m.length === 3 ? [...m, 1] : m; };
  const light = ([r, g, b]) => { const f = (v) => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }; return .2126 * f(r) + .7152 * f(g) + .0722 * f(b); };
  const under = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] === 1) return c; } return [255, 255, 255, 1]; };
  const poor = [];
  for (const e of document.querySelectorAll('#console *')) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility()) continue;
    const style = getComputedStyle(e), [a, b] = [light(parse(e instanceof SVGElement ? style.fill : style.color)), light(under(e))].sort((x, y) => y - x);
    const needed = parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700 ? 3 : 4.5;
    if ((a + .05) / (b + .05) < needed) poor.push([e.className || e.tagName, e.textContent.slice(0, 20), ((a + .05) / (b + .05)).toFixed(2)]);
  }
  return poor;
}"""


def test_an_empty_eastwall_says_what_to_do_next(page, data):
    control = Process(data).ready()
    try:
        page.goto(control.url)
        page.get_by_label("Token").fill(control.token)
        page.keyboard.press("Enter")
        expect(page.locator("#apis-empty")).to_contain_text("No API seen yet")
        expect(page.locator("#apis-empty code")).to_have_text(re.compile("eastwall up|curl"))
        expect(page.locator("#events-empty")).to_contain_text("Nothing suspicious yet")
    finally:
        control.stop()
    expect(page.locator("#banner")).to_contain_text("Control does not answer. Calls go on under the last snapshot.")
    page.faults = [fault for fault in page.faults if "ERR_CONNECTION" not in fault]


def test_new_apis_appear_by_themselves(page, data):
    write(data, [call(n) for n in range(20)])
    control = Process(data).ready()
    try:
        sign_in(page, control)
        expect(page.locator("#apis tbody tr")).to_have_count(2)
        write(data, [call(n, path=f"/refunds/{n}") for n in range(1, 20, 2)], engine="1")
        expect(page.locator("#apis tbody tr", has_text="/refunds/")).to_have_count(1, timeout=15_000)
    finally:
        control.stop()


# -- the views beside APIs and findings -------------------------------------------------------------------------------

VIEWS = ("overview", "changes", "identities", "data", "paths", "graph")


@pytest.fixture(scope="module")
def known():
    """A control process with something to show in every view."""
    path = Path(tempfile.mkdtemp(prefix="ew"))
    policy = path / "policy.yaml"
    policy.write_text(EXPOSED)
    records = discovered()
    write(path, records)
    control = Process(path, "--policy", str(policy)).ready()
    control.until("/api/v1/status", lambda s: s["lake"]["calls"] == len(records))
    control.until("/api/v1/paths", lambda found: found and control.send("GET", "/api/v1/data")[2])
    yield control
    assert control.stop() == 0, control.log.read_text()
    shutil.rmtree(path, ignore_errors=True)


def look(page, view):
    """The panel of a view, as soon as something is in it."""
    page.locator(f"#tab-{view}").click()
    panel = page.locator(f"#view-{view}")
    expect(panel.locator("h2").first).to_be_visible()
    return panel


def test_each_view_shows_what_is_known(page, known):
    sign_in(page, known)
    changes = look(page, "changes")
    expect(changes.locator("tbody tr")).to_have_count(4)
    expect(changes).to_contain_text("the service `billing` was seen for the first time")
    identities = look(page, "identities")
    expect(identities.locator("tbody tr")).to_have_count(9)
    agent = identities.locator("tbody tr", has_text="agent:")
    expect(agent).to_contain_text("asserted")
    expect(agent.locator("td.num").first).to_have_text("20")
    data = look(page, "data").locator("tbody tr")
    expect(data).to_have_count(3)
    expect(data.filter(has_text="/orders/")).to_contain_text("response")
    expect(data.filter(has_text="/orders/")).to_contain_text("user (60)")
    expect(data.filter(has_text="/charge")).to_contain_text("third party")
    first = look(page, "paths").locator(".path-item").first
    expect(first.locator(".hop")).to_have_text([f"agent:{MARKUP}", "orders GET /orders/{order_id}", "pan"])
    expect(first.locator(".hop.cut")).to_have_count(2)
    expect(first).to_contain_text("Cheapest cut: ")
    chain = page.locator(".path-item", has_text="leads to billing GET /invoices").first
    expect(chain).to_contain_text("by trace")
    chain.get_by_role("button", name="billing GET /invoices").click()
    expect(page.locator("#panel")).to_contain_text("Where it stands")
    expect(page.locator("#panel")).to_contain_text("orphan")


@pytest.mark.parametrize("view", VIEWS)
def test_values_from_traffic_are_text_in_every_view(page, known, view):
    sign_in(page, known)
    panel = look(page, view)
    shown = {"overview": f"query {MARKUP}", "changes": f"pay.{MARKUP}.example", "identities": HOSTILE_ACTOR, "data": MARKUP,
             "paths": f"agent:{MARKUP}", "graph": f"user+{SCRIPT}"}[view]  # fmt: skip
    expect(panel).to_contain_text(shown[:29])  # labels in the graph are cut
    if view == "graph":
        assert f"identity user+{SCRIPT} (human)" in panel.locator(".node title").all_text_contents()
    if view == "overview":
        panel.locator("tbody tr", has_text="query <img").get_by_role("button").click()
        expect(page.locator("#panel")).to_contain_text(f"cart.{SCRIPT}")
    assert page.evaluate("window.pwned") is None
    assert page.locator("main img[src='x'], main script, main b[onmouseover], #panel img, #panel script").count() == 0


def test_views_are_switched_by_keyboard(page, known):
    sign_in(page, known)
    page.get_by_role("tab", name="APIs and findings").focus()
    for key, name in (
        ("ArrowRight", "Changes"), ("End", "Graph"), ("ArrowRight", "APIs and findings"), ("ArrowLeft", "Graph"), ("Home", "APIs and findings"),
    ):  # fmt: skip
        page.keyboard.press(key)
        tab = page.get_by_role("tab", name=name)
        expect(tab).to_be_focused()
        expect(tab).to_have_attribute("aria-selected", "true")
        expect(page.locator("[role=tab][tabindex='0']")).to_have_count(1)
        expect(page.get_by_role("tabpanel")).to_have_count(1)
        expect(page.get_by_role("tabpanel", name=name)).to_be_visible()


def test_the_graph_is_filtered_and_a_node_is_chosen_by_keyboard(page, known):
    sign_in(page, known)
    panel = look(page, "graph")
    nodes = panel.get_by_role("button").filter(has=page.locator("circle"))
    everything = nodes.count()
    panel.get_by_role("button", name="operation orders GET /orders/{order_id}").focus()
    page.keyboard.press("Enter")
    on = panel.locator(".node.on")
    names = {name.split(" · ")[0] for name in on.locator("text").all_text_contents()}
    assert {"internet", "user", "orders", "billing GET /invoices", "email", "pan"} <= names
    assert not any("mutation pay" in name for name in names)
    assert not any(name.startswith("user+") for name in names), "that one calls another operation of the same service"
    chosen = panel.locator(".node[aria-pressed=true]")
    expect(chosen).to_have_count(1)
    expect(panel.locator(".edge.on").first).to_be_visible()
    panel.get_by_role("button", name="Open orders GET /orders/{order_id}").click()
    expect(page.locator("#panel")).to_contain_text("order_id (integer)")
    page.keyboard.press("Escape")
    chosen.focus()
    page.keyboard.press("Escape")
    expect(chosen).to_have_count(0)
    expect(panel.locator(".graph.chosen")).to_have_count(0)
    filtered = panel.get_by_label("Filter the graph")
    filtered.fill("billing")
    page.keyboard.press("Enter")
    expect(nodes.filter(has_text="mutation pay")).to_have_count(0)
    expect(nodes.filter(has_text="billing GET /invoices")).to_have_count(1)
    expect(filtered).to_be_focused()
    expect(filtered).to_have_value("billing")
    filtered.fill("nothing of this kind")
    page.keyboard.press("Enter")
    expect(panel).to_contain_text("Nothing matches")
    filtered.fill("")
    page.keyboard.press("Enter")
    expect(nodes).to_have_count(everything)


def test_an_identity_opens_from_its_row_and_from_a_link(page, known):
    sign_in(page, known)
    panel = page.locator("#panel")
    look(page, "identities").get_by_role("button", name=HOSTILE_ACTOR).click()
    expect(panel.locator("h2")).to_have_text(HOSTILE_ACTOR)
    expect(panel).to_contain_text("verified")
    expect(panel.locator("tbody tr")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator("#view-identities")).to_be_visible()
    page.goto(f"{known.url}/#identity/{quote('user:u1', safe='')}")
    expect(panel.locator("h2")).to_have_text("user:u1")
    panel.get_by_role("button", name="billing GET /invoices").click()
    expect(panel).to_contain_text("Where it stands")
    for link, words in (
        ("user:nobody", "there is no identity `user:nobody`"),
        ("%E0%A4%A", "there is no identity"),
        ("../apis", "there is no"),
    ):
        page.goto(f"{known.url}/#identity/{link}")
        expect(panel.locator("h2")).to_have_text("Not found")
        expect(panel).to_contain_text(words)


def test_a_link_followed_while_the_panel_closes_is_not_lost(page, known):
    sign_in(page, known)
    panel = page.locator("#panel")
    page.goto(f"{known.url}/#identity/{quote('user:u2', safe='')}")
    expect(panel.locator("h2")).to_have_text("user:u2")
    page.evaluate("document.getElementById('panel').close(); location.hash = 'identity/user:u1'")
    expect(panel.locator("h2")).to_have_text("user:u1")
    expect(panel).to_be_visible()
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    page.wait_for_function("location.hash === ''")


def test_nothing_overflows_a_narrow_window(browser, known):
    context = browser.new_context(viewport={"width": 800, "height": 900})
    page = context.new_page()
    sign_in(page, known)
    for view in (*VIEWS, "policies", "quarantine", "baselines"):
        look(page, view)
        assert page.evaluate("document.documentElement.scrollWidth") <= 800, view
    context.close()


def test_a_tool_call_that_waits_is_approved_with_one_click(page):
    """With a tool and an argument that would run as script if the page took them for markup."""
    path = Path(tempfile.mkdtemp(prefix="ew"))
    write(path, [call(1, method="POST", path="/orders")])
    asked = {
        "id": "ap-aaaaaaaaaaaaaaaa", "time": time.time(), "call": "01HF", "service": "bank", "tool": f"pay{MARKUP}", "actor": "user:alice",
        "agent": "client:bot", "human": "", "policy": "big", "why": "it needs approval by an operator", "arguments": {"to": MARKUP},
    }  # fmt: skip
    control = Process(path).ready()
    try:
        control.until("/api/v1/status", lambda s: s["lake"]["calls"] == 1)
        part = path / "run" / "engine-0.part"
        part.write_text(json.dumps({"name": "0", "approvals_asked": [asked]}))
        os.replace(part, path / "run" / "engine-0.json")
        control.until("/api/v1/approvals", lambda a: a["waiting"])
        sign_in(page, control)
        panel = look(page, "quarantine")
        row = panel.locator("tbody tr", has_text="user:alice by client:bot")
        expect(row).to_contain_text(f"to={MARKUP}")
        row.get_by_role("button", name="For 10 minutes").click()
        expect(panel).to_contain_text("Nothing waits for approval")
        expect(panel).to_contain_text("granted")
        (given,) = FileSnapshotStore(path / "snapshot").load().approvals
        assert (given.id, given.once, given.denied) == (asked["id"], False, False)
        assert control.send("PUT", "/api/v1/approvals/ap-none", {"decision": "grant"})[0] == 404
        assert control.send("PUT", "/api/v1/approvals/ap-aaaaaaaaaaaaaaaa", {"decision": "perhaps"})[0] == 400
        assert [act["act"] for act in control.send("GET", "/api/v1/audit")[2]][-1] == "approve"
    finally:
        control.stop()


def test_what_waits_is_taken_in_and_a_finding_is_judged(page):
    """Baselines and feedback, with names that would run as script if the page took them for markup."""
    path = Path(tempfile.mkdtemp(prefix="ew"))
    evil = f"gift.{MARKUP}"
    ordinary = [
        call(2 * n + 1, method="POST", path="/orders", properties=("product",), body_kind="json", actor=f"user:u{n % 20}")
        for n in range(120)
    ]
    write(path, sorted(ordinary, key=lambda record: record.time))
    control = Process(path).ready()
    try:
        control.until("/api/v1/status", lambda s: s["learner"]["learned"] == 1)
        odd = [
            call(1, method="POST", path="/orders", properties=("product", evil), body_kind="json", actor="user:u1")
            for _ in range(2)
        ]
        write(path, [*odd, replace(attack(), endpoint="ep_1", template="/orders")], engine="1")
        control.until("/api/v1/baselines", lambda b: b["candidates"])
        sign_in(page, control)
        panel = look(page, "baselines")
        row = panel.locator("tbody tr", has_text="may send")
        expect(row).to_contain_text(f"`user` may send `{evil}` in POST /orders")
        expect(row).to_contain_text("it waits: ")
        row.get_by_role("button", name="Take in").click()
        expect(panel).to_contain_text("Nothing waits")
        page.locator("#tab-overview").click()
        page.locator("#events .event").first.focus()
        page.keyboard.press("Enter")
        page.get_by_role("button", name="This was fine").click()
        expect(page.locator("#panel")).to_contain_text("is told with low confidence for 30 days")
        expect(page.locator("#panel")).to_contain_text("eastwall feedback undo f_")
        assert not page.evaluate("window.pwned")
    finally:
        assert control.stop() == 0, control.log.read_text()
        shutil.rmtree(path, ignore_errors=True)


POLICY = """\
apiVersion: eastwall.dev/v1alpha1
kind: AccessPolicy
metadata: {name: NAME}
spec: {action: deny, mode: monitor, scope: {services: [orders], operations: ["GET /never"]}}
"""


def test_policies_are_shown_suggested_and_rolled_back(page):
    path = Path(tempfile.mkdtemp(prefix="ew"))
    evil = f"user+{MARKUP}"
    write(path, [call(n, actor=f"user:u{n % 9}", actor_class=evil if n % 2 else "user") for n in range(100, 0, -1)])
    control = Process(path).ready()
    try:
        control.until("/api/v1/status", lambda s: s["lake"]["calls"] == 100)
        for name in ("first", "second"):
            assert control.send("PUT", "/api/v1/policy", {"files": {"p.yaml": POLICY.replace("NAME", name)}})[0] == 200
        sign_in(page, control)
        panel = look(page, "policies")
        expect(panel.locator("tbody tr", has_text="second").first).to_contain_text("AccessPolicy")
        expect(panel).to_contain_text("p.yaml:1")
        panel.get_by_role("button", name="Suggest policies").click()
        text = panel.locator("pre")
        expect(text).to_contain_text("# Suggested by Eastwall from 100 calls of 9 callers")
        expect(text).to_contain_text("GET /orders/{order_id}")
        expect(text).to_contain_text("mode: monitor")
        if folder := os.environ.get("EASTWALL_TEST_SCREENSHOTS"):
            page.screenshot(path=Path(folder) / "policies.png", full_page=True)
        panel.get_by_role("button", name="Roll back to this").first.click()
        page.locator("#confirm-yes").click()
        expect(panel.locator("tbody tr", has_text="first").first).to_contain_text("AccessPolicy")
        expect(panel).to_contain_text("rollback")
        assert not page.evaluate("window.pwned")
    finally:
        assert control.stop() == 0, control.log.read_text()
        shutil.rmtree(path, ignore_errors=True)
