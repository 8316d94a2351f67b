"""What is put into quarantine by hand: kept, audited, in force with the applied policies, and gone when it is over."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from eastwall.model.audit import Who
from eastwall.model.call import Mode
from eastwall.model.snapshot import ServiceScope
from eastwall.policy import decode, encode, parse_files
from eastwall.runtime.audit import AuditLog
from eastwall.runtime.policy_store import PolicyFaultsError
from eastwall.runtime.quarantines import Quarantines

ALICE = Who("token", "alice@desk")
OLD = {"scope": {"services": ["orders"], "operations": ["* /v1/**"]}, "until": "2001-09-09T02:00:00Z"}


class Desk:
    def __init__(self, folder: Path) -> None:
        self.now = 1_000_000_000.0  # 2001-09-09 01:46:40 UTC
        self.published = 0
        self.audit = AuditLog(folder / "audit", lambda: self.now)
        self.folder = folder
        self.made = self.again()

    def again(self) -> Quarantines:
        scopes = [ServiceScope("orders", Mode.MONITOR), ServiceScope("billing", Mode.ENFORCE)]
        return Quarantines(self.folder / "q.json", self.audit, lambda: self.now, self.publish, lambda: scopes, threading.RLock())

    def publish(self) -> None:
        self.published += 1

    def in_force(self, made: Quarantines | None = None) -> list[str]:
        found = decode((made or self.made).merged(encode(parse_files({})[0])))
        return [one.name for one in found.policies if one.location == "by hand"]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_added_in_force_listed_lifted_and_audited(desk: Desk) -> None:
    told = desk.made.add("old", OLD, ALICE)
    assert told["notes"] == ["`orders` is in monitor mode: calls are not refused there"]
    assert (desk.in_force(), desk.published) == (["old"], 1)
    (listed,) = desk.made.all()
    assert (listed["name"], listed["who"]["name"], listed["over"]) == ("old", "alice@desk", False)
    assert listed["spec"]["until"] == "2001-09-09T02:00:00Z"
    assert desk.in_force(desk.again()) == ["old"], "a restart opens nothing"
    desk.made.lift("old", ALICE)
    assert (desk.in_force(), desk.in_force(desk.again()), desk.published) == ([], [], 2)
    assert [(entry.act, entry.about["name"]) for entry in desk.audit.entries()] == [("quarantine", "old"), ("lift", "old")]
    with pytest.raises(LookupError, match="nothing was put into quarantine by hand as `old`"):
        desk.made.lift("old", ALICE)


def test_what_is_over_is_told_so_and_makes_room(desk: Desk) -> None:
    desk.made.add("old", OLD, ALICE)
    desk.now += 3600
    assert (desk.in_force(), desk.made.all()[0]["over"]) == ([], True)
    desk.made.add("new", {"scope": {"services": ["billing"]}, "indefinite": True}, ALICE)
    assert [one["name"] for one in desk.made.all()] == ["new"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, "closes everything"),
        ({"scope": {"services": ["orders"]}}, "either `until` or `indefinite: true`"),
        ({"scope": {"services": ["orders"]}, "until": "2001-01-01"}, "is over already"),
        ({"scope": {"service": ["orders"]}, "indefinite": True}, "did you mean `services`"),
        ({"scope": {"operations": ["orders"]}, "indefinite": True}, "is not an operation"),
    ],
)
def test_what_cannot_be_is_one_line_and_changes_nothing(desk: Desk, spec: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        desk.made.add("x", spec, ALICE)
    assert isinstance(raised.value, PolicyFaultsError) or "over already" in str(raised.value)
    assert (desk.in_force(), desk.published, desk.audit.entries()) == ([], 0, [])


def test_a_broken_file_says_how_to_mend_it(desk: Desk) -> None:
    (desk.folder / "q.json").write_text("{nonsense")
    with pytest.raises(ValueError, match=r"cannot be read .* delete it"):
        desk.again()
