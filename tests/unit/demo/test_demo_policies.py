"""The demo's policies say what they shall: forgotten endpoints are the admin's, card numbers leave masked."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from eastwall.model.call import Mode
from eastwall.model.snapshot import ServiceScope
from eastwall.policy import check, parse_files
from eastwall.policy.services import referenced_files
from eastwall.runtime.demo import shop
from eastwall.runtime.demo.catalog import EVERYBODY, SERVICES, Keys


@pytest.fixture
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="ew"))
    yield made
    shutil.rmtree(made)


def test_the_policies_have_no_faults(directory: Path) -> None:
    policies_at = shop.write_policies(directory / "policy", directory / "state")
    policies, faults = parse_files({str(path): path.read_text() for path in sorted(policies_at.glob("*.yaml"))})
    assert faults == []
    services = [ServiceScope(name, mode=Mode.ENFORCE) for name in SERVICES]
    assert check(policies, services=services, endpoints=[], detections=[]) == []
    keys, *documents = referenced_files(policies)
    assert Path(keys).read_bytes() == Keys(directory / "state").jwks.read_bytes()
    assert {Path(name).name for name in documents} == {f"{name}.openapi.json" for name in SERVICES}
    assert all(json.loads(Path(name).read_bytes())["openapi"].startswith("3.") for name in documents)


def test_the_private_key_is_for_its_owner_only_and_made_once(directory: Path) -> None:
    keys = Keys(directory)
    keys.prepare()
    before = keys.private.read_bytes()
    keys.prepare()
    assert keys.private.read_bytes() == before
    assert keys.private.stat().st_mode & 0o777 == 0o600
    assert b'"d"' not in keys.jwks.read_bytes()


def test_card_numbers_are_of_the_test_range_and_pass_the_check_digit() -> None:
    for person in EVERYBODY:
        digits = [int(digit) for digit in person.card]
        doubled = [value * 2 - 9 * (value > 4) if place % 2 else value for place, value in enumerate(reversed(digits))]
        assert sum(doubled) % 10 == 0
        assert len(digits) == 16
        assert person.card.startswith("400000")
    assert len({person.card for person in EVERYBODY}) == len(EVERYBODY)
