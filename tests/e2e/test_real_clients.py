"""What people really write passes: a publishing platform whose users post recipes, contracts, gossip and code, behind enforcing Eastwall."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.harness import Running, eventually, free_port
from tests.e2e.test_real_software import started, stop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

TITLES = (
    "How to train your dragon", "Drop the table? A reservation story", "O'Brien & Sons: 100 years", "Select the best hospital; a guide",
    "C++ or C#? It's not <that> simple", "Union rules: who may select?", "Why I left my job (and 50% of my salary)", "Läkerol – åsikter & minnen",
    "10 things you didn't know about 'cat'", "{curly} braces, [brackets] and $money$", "Re: your mail from 5/6", "日本語の記事", "Тест; проверка",
    "T-shirts & more", "L'Oréal & Time", "24/7 & free", "SELECT or INSERT? Choosing a statement", "What `git reset --hard HEAD~1` does",
)  # fmt: skip
BODIES = (
    "Take 2 eggs; whisk (don't stir!) until -- well -- firm. Heat to 180C/350F & serve with crème fraîche.\n\n- 1/2 cup of sugar\n- salt || pepper\n",
    "## Setup\n\nRun `pip install fastapi` and then:\n\n```bash\ncd app && uvicorn main:app --reload | tee log.txt\n```\n\nThat's it; enjoy.",
    "We asked 12 people: *\"What do you select from the menu, and where?\"* Most said: the union of both. 7 > 5, isn't it?",
    "| item | price |\n|---|---|\n| tea | $3.50 |\n| scone | $4 |\n\nTotal: `3.50 + 4 = 7.50`; tip 10%.",
    "> \"To be, or not to be\" -- that is the question.\n\nSee [this page](https://example.org/a?b=1&c=2#top) and ![pic](../images/cat.png).",
    "In LaTeX you write `$\\frac{a}{b}$` or \\begin{align} x &= y \\\\ \\end{align}. In Jinja a name is `{{ user.name }}`, in a shell `$HOME`.",
    "```python\nfor n in range(10):\n    if n % 2 == 0 and n != 4:\n        print(f\"{n}: {'even'}\")\n```\nThe regex is `^[a-z]+(?:-[a-z]+)*$`.",
    "Contract (draft) § 4: the tenant pays 1,200 EUR/month; late fees = 5% p.a.; notice: 3 months -- see annex /B/2.",
    "<p>Some <b>rich</b> text with a <a href=\"https://example.com/x\">link</a> &amp; an <img src=\"https://example.com/a.png\" alt=\"a > b\"></p>",
    "Our table `orders` has an id, a customer and a total. I'd like to join it with customers, group by month and order by total. Any ideas?",
    "ERROR 2026-03-01 12:00:01 [main] could not open C:\\Users\\anna\\report.xlsx (5): access denied; retrying in 10 s...",
    "She said: 'I''ll be there at 8' -- and he: \"or 9?\" 1=1 is a tautology, they say; so is p or not p.",
    "Rezept für Käsespätzle: 400 g Mehl, 4 Eier, 1 TL Salz... Alles vermengen (kräftig!), 10 min. ruhen lassen.",
    "1. Open the Terminal\n2. Type ls to list files, cat to read one\n3. Never run rm -rf / as root\n4. ???\n5. Profit!",
    "CSS: `.a > .b { color: #fff; background: url(/img/bg.png) }` and JSON: `{\"a\": [1, 2, {\"b\": null}]}`; YAML: `key: value # comment`.",
    "Dear all,\n\nplease find attached the minutes.\n\nTo: the board; cc: everybody else.\nSubject: next meeting (Fri 10:00, room 4/5)\n\nBest,\nJ.",
    "My router is at 192.168.0.1 and the docs say http://localhost:8080/ui opens the dashboard. What about http://10.0.0.5:3000?",
    "Emoji test 😀🎉 – \u201cquotes\u201d \u2026 and zero\u200dwidth joiners 👩\u200d💻; full\uff0dwidth \uff08brackets\uff09.",
    "x = a*b/c - d^2; y <= 3 && z >= 4 || !w; f(x) := x -> x+1; \u2200n\u2208\u2115: n<n+1",
    "Cron: `*/5 * * * * /usr/bin/backup.sh > /dev/null 2>&1` runs every five minutes. Ask me anything; I'm on call.",
    "How do I delete duplicates?\n\n```sql\nDELETE FROM users a USING users b\nWHERE a.id < b.id AND a.email = b.email;\n```\n\nI got `ERROR: syntax error at or near \"USING\"`.",
    "My code: $sql = \"SELECT * FROM users WHERE name = '\" . $_GET['name'] . \"'\"; mysqli_query($db, $sql); is it safe?",
    "```php\n<?php\n$stmt = $pdo->prepare('SELECT * FROM users WHERE email = :email');\n$stmt->execute(['email' => $email]);\n?>\n```",
    "df = pd.read_sql(\"SELECT * FROM t WHERE a = 'x'\", con); df.head()",
    "Query: sum(rate(http_requests_total{job=\"api\",code=~\"5..\"}[5m])) by (path) > 0.05; logs: {app=\"web\"} |= \"error\" | json",
    "name:o'brien~ AND (city:\"New York\" OR city:paris^2) AND age:[18 TO *] AND NOT status:deleted",
    "contains(Name,'O''Brien') and Price lt 10 or Category/Name eq 'Milk' and year(Date) ge 2024",
    "Home Assistant: {{ states('sensor.temperature') | float * 1.8 + 32 }}; Shopify: {{ order.total | money }}",
    "ffmpeg -i in.mov -vf \"scale=1280:-2,fps=30\" -c:v libx264 -crf 23 out.mp4 -- or is there a shorter way?",
    "UNB+UNOC:3+4012345678901:14+4098765432109:14+260302:1000+1'UNH+1+ORDERS:D:96A:UN'UNT+4+1'UNZ+1+1'",
    "{\"type\":\"doc\",\"text\":\"It's \\\"fine\\\"; or not -- select one\",\"marks\":[{\"type\":\"bold\"}]}",
    "diff --git a/app.py b/app.py\n@@ -1,2 +1,2 @@\n-    cur.execute(\"SELECT * FROM users WHERE id = %s\" % uid)\n+    cur.execute(\"SELECT * FROM users WHERE id = %s\", (uid,))",
    "L'État, c'est moi; l'homme d'aujourd'hui n'est pas d'accord -- ou peut-être \u00ab oui \u00bb",
)  # fmt: skip
QUERIES = (
    "o'brien",
    "select hospital",
    "c++ & c#",
    "price < 100 and rooms > 2",
    '"exact phrase" -not',
    "drop or pick up",
    "a/b",
    "50%",
    "{tag}",
    "1 or 2",
    "t-shirts & more",
    'title=="foo*";author==Bob',
    'status:open AND (label:bug OR label:"won\'t fix")',
    "men's | women's",
)
BIOS = (
    "I work at Tom & Jerry's; 50% cat, 50% code",
    "she/her -- she's 5'6\"",
    "<3 pizza",
    "root@home:~$ whoami",
    None,
    "https://me.example/?u=1&v=2",
)


@pytest.fixture(scope="module")
def conduit(short_dir: Path) -> Iterator[int]:
    port = free_port()
    process = started([sys.executable, "-m", "tests.e2e.conduit", str(port)], port, short_dir / "conduit.log")
    yield port
    stop(process)


class Author:
    """One client with a seed of its own."""

    def __init__(self, base: str, number: int) -> None:
        self.rng = random.Random(number)
        self.client = httpx.Client(base_url=base, timeout=20.0, headers={"user-agent": "conduit-client/1.4 (Linux; rv:2)"})
        self.name = f"author{number}"
        self.answers: list[tuple[str, httpx.Response]] = []

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        answer = (
            self.client.request(method, path, json=body, params=query or None)
            if body
            else self.client.request(method, path, params=query or None)
        )
        self.answers.append((f"{method} {path} {body} {query}", answer))
        return answer

    def sign_up(self) -> None:
        user = {"username": self.name, "email": f"{self.name}@mail.example", "password": "Tr0ub4dor&3;--'x'"}
        self.call("POST", "/api/users", {"user": user})
        token = self.call("POST", "/api/users/login", {"user": {"email": user["email"], "password": user["password"]}}).json()[
            "user"
        ]["token"]
        self.client.headers["authorization"] = f"Bearer {token}"
        self.call("GET", "/api/user")
        self.call("PUT", "/api/user", {"user": {"bio": self.rng.choice(BIOS), "image": "https://cdn.example/i/7.jpg?w=64&h=64"}})

    def publish(self, body: str) -> str:
        article = {
            "title": self.rng.choice(TITLES),
            "description": body[:60],
            "body": body,
            "tagList": self.rng.sample(["food", "c++", "it's", "q&a", "r/w"], 2),
        }
        return str(self.call("POST", "/api/articles", {"article": article}).json()["article"]["slug"])

    def browse(self, slugs: list[str], others: list[str]) -> None:
        slug = self.rng.choice(slugs)
        self.call("GET", f"/api/articles/{slug}")
        self.call("GET", "/api/articles", limit=20, offset=self.rng.randrange(3))
        self.call("GET", "/api/articles", q=self.rng.choice(QUERIES))
        self.call("GET", "/api/articles", tag=self.rng.choice(["food", "c++", "it's", "q&a"]))
        self.call("POST", f"/api/articles/{slug}/favorite")
        self.call("POST", f"/api/articles/{slug}/comments", {"comment": {"body": self.rng.choice(BODIES)}})
        self.call("GET", f"/api/articles/{slug}/comments")
        other = self.rng.choice(others)
        self.call("GET", f"/api/profiles/{other}")
        self.call("POST", f"/api/profiles/{other}/follow")
        self.call("GET", "/api/tags")


def test_nobody_is_disturbed(conduit: int, short_dir: Path, adapter: str) -> None:
    place = short_dir / f"conduit-{adapter}"
    place.mkdir()
    up = Running(
        place, "--adapter", adapter, "--mode", "enforce", "--upstream", f"conduit=http://127.0.0.1:{conduit}@{free_port()}"
    )
    try:
        base = up.address("conduit")
        authors = [Author(base, (1000 if adapter == "shim" else 2000) + number) for number in range(6)]
        slugs: list[str] = []
        for author in authors:
            author.sign_up()
        for number, body in enumerate(BODIES):
            slugs.append(authors[number % 6].publish(body))
        names = [author.name for author in authors]
        for _ in range(8):
            for author in authors:
                author.browse(slugs, names)
        calls = [call for author in authors for call in author.answers]
        disturbed = [(what[:300], answer.status_code, answer.text[:200]) for what, answer in calls if answer.status_code >= 400]
        assert not disturbed
        assert len(calls) > 500
        eventually(lambda: up.status()["lake"]["calls"] >= len(calls), timeout=30, what="every call is recorded")
        found = up.api.get("/findings", params={"limit": 1000}).json()
        wrong = [
            (f["id"], f["where"], f["evidence"])
            for f in found
            if f["severity"] in ("high", "critical") and f["confidence"] != "low"
        ]
        assert not wrong
    finally:
        assert up.stop() == 0
