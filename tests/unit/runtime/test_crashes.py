"""Acts that are cut short at each operation on files in turn: by the process being killed, and by a full disk. What is in force is
the old or the new whole, history and audit log agree with it, and the next act goes on from there."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eastwall.model.audit import Origin, Who
from eastwall.model.call import Mode
from eastwall.runtime.audit import AuditLog
from eastwall.runtime.policy_acts import PolicyActs
from eastwall.runtime.policy_store import PolicyStore
from eastwall.runtime.quarantines import Quarantines

from .repositories import deny

ALICE = Who("token", "alice@desk")
MODES = "apiVersion: eastwall.dev/v1alpha1\nkind: Service\nmetadata: {name: orders}\nspec: {mode: monitor}\n"
SETS = {"one": {"a.yaml": deny("a")}, "two": {"b.yaml": deny("b")}, "three": {"c.yaml": deny("c") + "---\n" + MODES}}
CLOSED = {"scope": {"services": ["orders"]}, "indefinite": True}
OPERATIONS = ("write", "fsync", "replace", "ftruncate", "mkdir", "unlink")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here outlives the machine; what is fsynced, and when, is counted all the same."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


class Killed(BaseException):
    """The process is gone: nothing that follows happens, no clean-up either."""


class Desk:
    """What control does around these parts, without engines. A new one on the same folder: control started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = PolicyStore(folder / "policy")
        self.audit = AuditLog(folder / "audit", self.clock)
        self.acts = PolicyActs(self.store, self.audit, self.apply, self.clock)
        self.quarantines = Quarantines(
            folder / "policy" / "quarantine.json", self.audit, self.clock, lambda: None, lambda: (), threading.RLock()
        )
        self.acts.start()
        self.quarantines.settle()

    def clock(self) -> float:
        return 1_000.0  # it stands still, as after it was put back

    def apply(self, files: dict[str, str], attachments: dict[str, str] | None = None, *, who: Who = ALICE, act: str = "apply", **_: Any) -> dict[str, Any]:  # fmt: skip
        state, _faults = self.store.check(files, attachments or {}, services=(), endpoints=(), detections=())
        assert state is not None
        self.acts.apply(state, who, Origin(), act)
        return {}

    def in_force(self) -> tuple[object, ...]:
        """All that acts change."""
        applied = self.store.state.applied
        return tuple(sorted(applied.files)), tuple(self.store.modes.items()), tuple(one["name"] for one in self.quarantines.all())

    def check(self) -> None:
        """History and audit log agree with what is in force; nothing is half written."""
        now, *before = self.store.history()
        assert (now.time, now.digest) == (self.store.state.applied.time, self.store.state.applied.digest)
        assert now.digest not in [past.digest for past in before[:1]], "nothing is there twice"
        assert not list(self.folder.rglob("*.part"))
        assert len(list((self.folder / "policy" / "history").iterdir())) == 1 + len(before)
        assert self.acts.verify_audit()["ok"]
        assert self.audit.fault == ""
        last = self.audit.unfinished(("apply", "rollback"))
        assert last is None or last.about["digest"] == now.digest
        for name in ("old", "new"):
            entry = next((e for e in reversed(self.audit.entries()) if e.about.get("name") == name), None)
            if entry is not None and entry.act != "failed":
                assert (entry.act == "quarantine") is any(one["name"] == name for one in self.quarantines.all())


ACTS: dict[str, Callable[[Desk], object]] = {
    "apply": lambda desk: desk.apply(SETS["three"]),
    "rollback": lambda desk: desk.acts.rollback("-1", ALICE),
    "quarantine": lambda desk: desk.quarantines.add("new", CLOSED, ALICE),
    "lift": lambda desk: desk.quarantines.lift("old", ALICE),
}


def begun(folder: Path) -> Desk:
    """Two sets were applied, a mode was set by hand, something is in quarantine."""
    desk = Desk(folder)
    desk.apply(SETS["one"])
    desk.apply(SETS["two"])
    desk.store.set_modes(["orders"], Mode.ENFORCE)
    desk.quarantines.add("old", CLOSED, ALICE)
    return desk


def failing(
    patch: pytest.MonkeyPatch, at: int, fault: BaseException, only: tuple[str, ...] = OPERATIONS, *, half: bool = True
) -> Iterator[int]:
    """From the `at`-th operation on each one fails; a write that is the first to fail gets half of its bytes onto the disk."""
    count = 0

    def wrap(name: str) -> None:
        true = getattr(os, name)

        def operation(*arguments: Any, **more: Any) -> Any:
            nonlocal count
            count += 1
            if count < at:
                return true(*arguments, **more)
            if count == at and name == "write" and half:
                true(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
            raise fault

        patch.setattr(os, name, operation)

    for name in only:
        wrap(name)
    yield count
    patch.undo()
    yield count


def cut_short(
    act: str, tmp_path: Path, fault: BaseException, only: tuple[str, ...]
) -> Iterator[tuple[int, Desk, tuple[object, ...], bool]]:
    """(point, desk, what was in force, whether the act came through), for each point, and once with no fault at all."""
    begun(tmp_path / "0")
    for point in range(1, 100):
        desk = Desk(copied(tmp_path / "0", tmp_path / str(point)))
        before = desk.in_force()
        with pytest.MonkeyPatch.context() as patch:
            counting = failing(patch, point, fault, only)
            next(counting)
            done = True
            try:
                ACTS[act](desk)
            except type(fault):
                done = False
            reached = next(counting) >= point
        yield point, desk, before, done
        if not reached:
            return
    pytest.fail("an act of over a hundred operations")


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def after(act: str, folder: Path) -> tuple[object, ...]:
    """What is in force when nothing goes wrong."""
    desk = begun(folder)
    ACTS[act](desk)
    return desk.in_force()


@pytest.mark.parametrize("act", ACTS)
def test_killed_at_any_operation_the_old_or_the_new_is_in_force_whole(act: str, tmp_path: Path) -> None:
    new, seen = after(act, tmp_path / "whole"), []
    for point, killed, before, done in cut_short(act, tmp_path, Killed(), OPERATIONS):
        again = Desk(killed.folder)
        again.check()
        assert again.in_force() in (before, new), (point, again.in_force())
        seen.append(again.in_force() == new)
        assert not done or seen[-1], "what was said to be done is done"
        again.apply({"d.yaml": deny("d")})
        again.acts.rollback("-1", ALICE)
        again.check()
        assert again.in_force()[0] == (new if seen[-1] else before)[0], "back to what was in force"
    assert len(seen) > 6
    assert seen == sorted(seen), "from one operation on it is the new"
    assert not seen[0]
    assert seen[-1]


@pytest.mark.parametrize("act", ACTS)
def test_on_a_full_disk_an_act_is_refused_or_done_and_what_is_said_holds(act: str, tmp_path: Path) -> None:
    # Where the disk is full names can still be taken away and files cut.
    new, came_through = after(act, tmp_path / "whole"), []
    for point, desk, before, done in cut_short(
        act, tmp_path, OSError(28, "No space left on device"), ("write", "fsync", "replace", "mkdir")
    ):
        assert desk.in_force() == (new if done else before), point
        again = Desk(copied(desk.folder, tmp_path / f"{point}-again"))
        assert again.in_force() == desk.in_force(), "a start changes nothing"
        came_through.append(done)
        desk.apply({"d.yaml": deny("d")})  # there is room again
        desk.acts.rollback("-1", ALICE)
        assert desk.in_force()[0] == (new if done else before)[0]
        desk.check()
        Desk(desk.folder).check()
    assert came_through == sorted(came_through)
    assert not came_through[0]
    assert came_through[-1]


def test_what_is_refused_leaves_nothing_behind_that_takes_room(tmp_path: Path) -> None:
    desk = begun(tmp_path)
    held = sorted(str(path) for path in tmp_path.rglob("*"))
    with pytest.MonkeyPatch.context() as patch:
        counting = failing(patch, 1, OSError(28, "No space left on device"), ("write",))
        next(counting)
        for act in ACTS.values():
            with pytest.raises(OSError, match="No space"):
                act(desk)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == held
    assert [entry.act for entry in desk.audit.entries()] == ["apply", "apply", "quarantine"], "what was not begun is not told of"


def test_a_clock_that_went_back_does_not_change_the_order_of_sets(tmp_path: Path) -> None:
    desk = begun(tmp_path)
    desk.apply(SETS["three"])
    assert [set(past.change.added) for past in desk.store.history()] == [
        {"AccessPolicy/c", "Service/orders"},
        {"AccessPolicy/b"},
        {"AccessPolicy/a"},
    ]


def test_modes_as_earlier_versions_kept_them_are_read(tmp_path: Path) -> None:
    desk = begun(tmp_path)
    desk.apply(SETS["three"])
    (tmp_path / "policy" / "modes.json").write_text('{"orders": 2, "billing": 1}')
    assert PolicyStore(tmp_path / "policy").modes == {"orders": Mode.ENFORCE, "billing": Mode.MONITOR}
