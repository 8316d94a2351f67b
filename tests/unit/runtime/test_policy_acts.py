"""History, roll-back, drift, and keeping in step with a real repository: on the store and audit log as control has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eastwall.model.audit import Origin, Who
from eastwall.runtime import policy_store
from eastwall.runtime.audit import AuditLog
from eastwall.runtime.policy_acts import PolicyActs
from eastwall.runtime.policy_files import PolicyFilesError
from eastwall.runtime.policy_replay import BlocksTrafficError
from eastwall.runtime.policy_sources import difference, from_directory, from_repository
from eastwall.runtime.policy_store import PolicyFaultsError, PolicyStore
from eastwall.runtime.policy_watch import PolicyWatch, Watched
from eastwall.sources import git

from .repositories import Repo, allowed, deny, needs_git, needs_ssh_keygen, signing, ssh_key

ALICE = Who("token", "alice@desk")


class Desk:
    """What control does around these parts, without engines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 1_000.0
        self.store = PolicyStore(folder / "policy")
        self.audit = AuditLog(folder / "audit", lambda: self.now)
        self.acts = PolicyActs(self.store, self.audit, self.apply, lambda: self.now)
        self.guard = ""
        """What the guard says against applying anything."""

    def apply(self, files: dict[str, str], attachments: dict[str, str] | None = None, *, who: Who = ALICE,
              origin: Origin | None = None, act: str = "apply", force: bool = False) -> dict[str, Any]:  # fmt: skip
        state, faults = self.store.check(files, attachments or {}, services=(), endpoints=(), detections=())
        if state is None:
            raise PolicyFaultsError(faults)
        assert force is (act == "rollback"), "only the way back is never barred"
        self.now += 1
        if self.guard:
            raise BlocksTrafficError(self.guard, {})
        self.acts.apply(state, who, origin or Origin(), act)
        return {"digest": state.applied.digest}

    def watch(self, url: str, **options: Any) -> PolicyWatch:
        made = PolicyWatch(Watched(url, **options), self.folder / "policy" / "git" / "x.git", audit=self.audit, apply_policy=self.apply,
                           applied=lambda: self.store.state.applied.origin, clock=lambda: self.now)  # fmt: skip
        self.acts.follow(made)
        return made

    def done(self) -> list[tuple[str, str]]:
        return [(entry.act, entry.who.by) for entry in self.audit.entries()]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "data")


def test_history_tells_what_changed_and_who_did_it(desk: Desk) -> None:
    desk.apply({"a.yaml": deny("a"), "b.yaml": deny("b")})
    desk.apply(
        {"a.yaml": deny("a", "POST /orders"), "c.yaml": deny("c")}, origin=Origin("https://git.example/p", commit="c" * 40)
    )
    now, before = desk.acts.history()
    assert before["change_text"] == "+ AccessPolicy/a, AccessPolicy/b"
    assert now["change_text"] == "+ AccessPolicy/c; ~ AccessPolicy/a; - AccessPolicy/b"
    assert (now["count"], now["current"], before["current"]) == (2, True, False)
    assert (now["who"], now["origin"]["commit"]) == ({"by": "token", "name": "alice@desk"}, "c" * 40)
    again = PolicyStore(desk.folder / "policy")
    assert again.state.applied.origin.commit == "c" * 40
    (first, second) = desk.audit.entries()
    assert (second.act, second.about["before"], second.about["digest"]) == ("apply", first.about["digest"], now["digest"])
    assert second.about["change"]["changed"] == ["AccessPolicy/a"]


def test_a_policy_that_only_moved_has_not_changed(desk: Desk) -> None:
    desk.apply({"a.yaml": deny("a")})
    desk.apply({"b.yaml": "# moved\n" + deny("a")})
    assert desk.acts.history()[0]["change_text"] == "nothing"


def test_rolling_back(desk: Desk) -> None:
    sets = [{"a.yaml": deny("a")}, {"b.yaml": deny("b")}, {"c.yaml": deny("c")}]
    one, two, three = (desk.apply(files)["digest"] for files in sets)
    assert desk.acts.rollback("-1", ALICE)["digest"] == two
    assert desk.store.state.applied.files == sets[1]
    assert desk.acts.rollback("-1", ALICE)["digest"] == three, "back to what was in force before"
    assert desk.acts.rollback("-2", ALICE)["digest"] == one
    assert desk.acts.rollback(two[:6].upper(), ALICE)["digest"] == two
    assert [act for act, _ in desk.done()] == ["apply"] * 3 + ["rollback"] * 4
    assert desk.acts.history()[0]["act"] == "rollback"
    assert PolicyStore(desk.folder / "policy").state.applied.digest == two
    for which, told in {"-3": "only 2 earlier sets", "feed": "no applied set", "-0": "not a digest", "ab": "not a digest", "*": "not a digest",
                        "../x": "not a digest", two: "is what is applied now"}.items():  # fmt: skip
        with pytest.raises((LookupError, ValueError), match=told):
            desk.acts.rollback(which, ALICE)
    assert len(desk.done()) == 7


def test_a_set_that_has_faults_today_is_not_rolled_back_to(desk: Desk) -> None:
    desk.apply({"a.yaml": deny("a")})
    desk.apply({"b.yaml": deny("b")})
    (old,) = (desk.folder / "policy" / "history").glob(f"*-{desk.acts.history()[1]['digest']}.json")
    old.write_text(old.read_text().replace("action: deny", "action: nonsense"))  # as if an earlier version had taken it
    with pytest.raises(PolicyFaultsError, match="nonsense"):
        desk.acts.rollback("-1", ALICE)
    assert desk.store.state.applied.files == {"b.yaml": deny("b")}
    old.write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        desk.acts.rollback("-1", ALICE)


def test_what_is_kept_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_store, "HISTORY", 3)
    for n in range(5):
        desk.apply({"a.yaml": deny(f"a{n}")})
    assert len(desk.acts.history()) == 3
    monkeypatch.setattr(policy_store, "HISTORY_BYTES", 1)
    desk.apply({"a.yaml": deny("b")})
    assert len(desk.acts.history()) == 2, "one step back is always there"


def test_an_apply_that_cannot_be_recorded_is_not_done(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.apply({"a.yaml": deny("a")})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(desk.audit, "record", full)
    with pytest.raises(OSError, match="No space"):
        desk.apply({"b.yaml": deny("b")})
    assert desk.store.state.applied.files == {"a.yaml": deny("a")}


def test_an_apply_that_fails_is_told_in_the_log(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(policy_store, "write_whole", full)
    with pytest.raises(OSError, match="No space"):
        desk.apply({"b.yaml": deny("b")})
    assert [act for act, _ in desk.done()] == ["apply", "failed"]
    assert desk.store.state.applied.files == {}


def test_differences_do_not_look_at_where_the_files_lie() -> None:
    found = difference({"/w/p/a.yaml": "1", "/w/p/b.yaml": "1"}, "/w/p", {"q/a.yaml": "2", "q/c.yaml": "1"}, "q")
    assert (found.added, found.changed, found.removed) == (("c.yaml",), ("a.yaml",), ("b.yaml",))
    assert not difference({"p/a.yaml": "1"}, "p", {"a.yaml": "1"}, "")


@needs_git
def test_a_work_tree_and_its_repository_are_the_same_policies(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "r")
    commit = repo.commit(
        {"p/a.yaml": deny("a"), "p/sub/b.yml": deny("b"), "p/a.test.yaml": "x", "README": "x", "c.yaml": deny("c")}
    )
    tree = from_directory(repo.folder / "p")
    here = git.Repository(repo.url, tmp_path / "copy.git")
    there = from_repository(here, here.fetch("main"), "main", "p/", None)
    assert not difference(tree.files, tree.origin.base, there.files, there.origin.base)
    assert set(there.files) == {"p/a.yaml", "p/sub/b.yml"}
    assert (tree.origin.commit, tree.origin.changed, there.origin.commit) == (commit, False, commit)
    assert (there.origin.source, there.origin.path, there.origin.ref) == (repo.url, "p", "main")
    one = from_repository(here, here.fetch("main"), "main", "p/a.yaml", None)
    assert not difference(from_directory(repo.folder / "p" / "a.yaml").files, str(repo.folder / "p"), one.files, one.origin.base)


SERVICE = """apiVersion: eastwall.dev/v1alpha1
kind: Service
metadata: {name: orders}
spec: {spec: %s}
"""
OPENAPI = {
    "openapi": "3.0.0",
    "info": {"title": "t", "version": "1"},
    "paths": {"/orders": {"get": {"responses": {"200": {"description": "x"}}}}},
}


@needs_git
def test_files_that_policies_refer_to_come_from_the_commit_and_from_nowhere_else(tmp_path: Path, desk: Desk) -> None:
    repo = Repo(tmp_path / "r")
    repo.commit({"p/s.yaml": SERVICE % "../specs/o.json", "specs/o.json": json.dumps(OPENAPI)})
    here = git.Repository(repo.url, tmp_path / "copy.git")
    source = from_repository(here, here.fetch("main"), "main", "p", None)
    assert source.attachments == {"p/../specs/o.json": json.dumps(OPENAPI)}
    desk.apply(source.files, source.attachments)
    assert [e.template for e in desk.store.state.declared["orders"]] == ["/orders"]
    for named in ("/etc/hostname", "../../../../../../etc/hostname", "../link.json"):
        (repo.folder / "link.json").unlink(missing_ok=True)
        (repo.folder / "link.json").symlink_to("/etc/hostname")
        repo.commit({"p/s.yaml": SERVICE % named})
        with pytest.raises(PolicyFilesError, match="is no file in"):
            from_repository(here, here.fetch("main"), "main", "p", None)


@needs_git
def test_protos_of_a_repository_are_compiled_with_what_they_import(tmp_path: Path, desk: Desk) -> None:
    pytest.importorskip("grpc_tools", reason="protos are compiled by grpcio-tools, an extra")
    repo = Repo(tmp_path / "r")
    imported = 'syntax = "proto3"; package o; message Q { string id = 1; }'
    proto = 'syntax = "proto3"; package o; import "q.proto"; service Orders { rpc Get(Q) returns (Q); }'
    repo.commit({"s.yaml": SERVICE % "api/o.proto", "api/o.proto": proto, "api/q.proto": imported})
    here = git.Repository(repo.url, tmp_path / "copy.git")
    source = from_repository(here, here.fetch("main"), "main", "", None)
    desk.apply(source.files, source.attachments)
    assert [e.template for e in desk.store.state.declared["orders"]] == ["/o.Orders/Get"]
    repo.commit({"api/q.proto": "nonsense"})
    with pytest.raises(PolicyFilesError) as told:
        from_repository(here, here.fetch("main"), "main", "", None)
    assert str(tmp_path) not in str(told.value)


@needs_git
def test_what_a_repository_does_not_hold_is_one_line(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "r")
    repo.commit({"a.txt": "x", "big.yaml": "#" * (5 << 20), "latin.yaml": "x"})
    (repo.folder / "latin.yaml").write_bytes(b"\xff")
    repo.commit({})
    here = git.Repository(repo.url, tmp_path / "copy.git")
    revision = here.fetch("main")
    for path, told in {"nope": "no policy files", "../x": "not a folder", "/etc": "not a folder", "big.yaml": "over 4 MiB",
                       "latin.yaml": "not UTF-8", "a.txt": "no policy files"}.items():  # fmt: skip
        with pytest.raises(PolicyFilesError, match=told):
            from_repository(here, revision, "main", path, None)


@needs_git
def test_the_watch_applies_what_is_new_and_keeps_the_last_good_commit(tmp_path: Path, desk: Desk) -> None:
    repo = Repo(tmp_path / "r")
    first = repo.commit({"p/a.yaml": deny("a")})
    watch = desk.watch(repo.url, ref="main", path="p")
    watch.look()
    assert (watch.fault, desk.store.state.applied.origin.commit) == ("", first)
    assert desk.store.state.applied.who == Who("git", "Ada <ada@example.com>")
    watch.look()
    assert desk.done() == [("apply", "git")], "once a commit"

    broken = repo.commit({"p/a.yaml": deny("a").replace("deny,", "nonsense,")})
    watch.look()
    watch.look()
    assert desk.store.state.applied.origin.commit == first
    assert f"commit {broken[:12]} is not applied: p/a.yaml:4:" in watch.fault
    assert desk.acts.faults()["policy repository"] == watch.fault
    assert desk.done() == [("apply", "git"), ("refused", "git")], "told once"
    assert desk.audit.entries()[-1].about["commit"] == broken
    drift = desk.acts.drift()
    assert (drift["difference"]["changed"], drift["drifted"], drift["by_hand"]) == (("a.yaml",), True, False)

    mended = repo.commit({"p/a.yaml": deny("a", "POST /orders"), "p/b.yaml": deny("b")})
    watch.look()
    assert (watch.fault, desk.store.state.applied.origin.commit) == ("", mended)
    assert desk.acts.drift()["drifted"] is False
    assert desk.acts.status()["repository"]["in_step"] is True


@needs_git
def test_a_commit_that_would_block_most_traffic_is_refused_and_tried_again_later(tmp_path: Path, desk: Desk) -> None:
    repo = Repo(tmp_path / "r")
    first = repo.commit({"a.yaml": deny("a")})
    watch = desk.watch(repo.url)
    watch.look()
    second = repo.commit({"a.yaml": deny("a", "* /**")})
    desk.guard = "it would block 90 % of the calls of `orders`"
    watch.look()
    assert f"commit {second[:12]} is not applied: it would block" in watch.fault
    desk.guard = ""
    watch.look()
    assert desk.store.state.applied.origin.commit == first, "trying it takes its time, so not at every look"
    desk.now += 600
    watch.look()
    assert (desk.store.state.applied.origin.commit, watch.fault) == (second, "")


@needs_git
def test_what_is_applied_by_hand_stays_until_the_branch_moves_also_over_a_restart(tmp_path: Path, desk: Desk) -> None:
    repo = Repo(tmp_path / "r")
    repo.commit({"a.yaml": deny("a")})
    second = repo.commit({"a.yaml": deny("a", "POST /orders")})
    watch = desk.watch(repo.url)
    watch.look()
    desk.apply({"x/a.yaml": deny("a")}, origin=Origin(base="x"))
    watch.look()
    assert desk.store.state.applied.files == {"x/a.yaml": deny("a")}
    assert (desk.acts.drift()["by_hand"], desk.acts.drift()["difference"]["changed"]) == (True, ("a.yaml",))
    desk.acts.rollback("-1", ALICE)
    assert desk.acts.drift()["drifted"] is False
    desk.acts.rollback("-1", ALICE)

    again = Desk(desk.folder)
    watch = again.watch(repo.url)
    watch.look()
    assert again.store.state.applied.files == {"x/a.yaml": deny("a")}
    assert again.acts.drift()["by_hand"] is True
    third = repo.commit({"a.yaml": deny("c")})
    watch.look()
    assert again.store.state.applied.origin.commit == third != second
    assert again.watch(repo.url, path="")._done == third
    assert again.watch(repo.url, path="p")._done == "", "another path: another question"


@needs_git
def test_a_repository_that_is_away_is_a_fault_and_changes_nothing(tmp_path: Path, desk: Desk) -> None:
    repo = Repo(tmp_path / "r")
    first = repo.commit({"a.yaml": deny("a")})
    watch = desk.watch(repo.url)
    with pytest.raises(ValueError, match="could not be read yet"):
        desk.acts.drift()
    watch.look()
    repo.folder.rename(tmp_path / "away")
    watch.look()
    assert "git fetch: " in watch.fault
    assert desk.store.state.applied.origin.commit == first
    assert desk.done() == [("apply", "git")], "the network's fault is none for the audit log"
    (tmp_path / "away").rename(repo.folder)
    watch.look()
    assert watch.fault == ""


@needs_git
@needs_ssh_keygen
def test_only_signed_commits_and_none_older_than_the_applied(tmp_path: Path, desk: Desk) -> None:
    ada = ssh_key(tmp_path, "ada")
    repo = Repo(tmp_path / "r")
    old = repo.commit({"a.yaml": deny("old")}, config=signing(ada), sign=True, date=1_700_000_000)
    new = repo.commit({"a.yaml": deny("new")}, config=signing(ada), sign=True, date=1_700_000_100)
    watch = desk.watch(repo.url, signers=git.Signers(allowed=allowed(tmp_path, ada=ada)))
    watch.look()
    assert desk.store.state.applied.origin.commit == new
    assert desk.store.state.applied.who.name.startswith("ada@example.com SHA256:")
    unsigned = repo.commit({"a.yaml": deny("evil")}, date=1_700_000_200)
    watch.look()
    assert f"{unsigned[:12]} is not applied: commit {unsigned[:12]} has no accepted signature (it is not signed)" in watch.fault
    repo.git("reset", "-q", "--hard", old)
    watch.look()
    assert "older than the applied commit" in watch.fault
    assert desk.store.state.applied.origin.commit == new
    assert [act for act, _ in desk.done()] == ["apply", "refused", "refused"]


def test_without_a_watched_repository_drift_says_what_to_do(desk: Desk) -> None:
    with pytest.raises(LookupError, match="--policy-git"):
        desk.acts.drift()
