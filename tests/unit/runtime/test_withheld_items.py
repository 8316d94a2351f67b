"""A list with others' items, through a whole engine: what the caller gets."""

from __future__ import annotations

import msgspec
from tests.unit.decision.world import ORDERS, answer, call, snapshot

from eastwall.behaviours.ownership_claims.judging import Knowledge, Rule
from eastwall.model.record import CallRecord
from eastwall.runtime.engine import Engine

from .test_engine import Rig, completion, rig  # noqa: F401

RULE = Rule(ORDERS.id, "=body.items[].user_id", "sub", "user", 400, 400, True, ("user",))


def _engine(rig: Rig) -> Engine:  # noqa: F811
    known = (("ownership_claims", msgspec.msgpack.encode(Knowledge((RULE,)))),)
    return rig.engine(snapshot(behaviours=known))


def test_the_rest_of_the_list_is_delivered_as_it_was(rig: Rig) -> None:  # noqa: F811
    engine, asked = _engine(rig), call("GET", "/orders", user="alice")
    assert not engine.request(asked).deny
    given = engine.response(
        asked.id,
        answer(
            b'{"items": [{"id":1,"user_id":"alice","n":1.10}, {"id":2,"user_id":"bob"}, {"id":3,"user_id":"carol"}], "total":3}'
        ),
    )
    assert not given.deny
    assert given.body == b'{"items": [{"id":1,"user_id":"alice","n":1.10}], "total":3}'
    engine.completed(completion(asked))
    record: CallRecord = rig.records.got[0]
    assert (record.action, record.would) == ("redact", "redact")
    assert any("2 items are withheld" in match.reason for match in record.matches)
    assert engine.state.grants.held("user:alice") == 0, "what an answer gives along with others' items is no grant"


def test_what_cannot_be_cut_is_withheld(rig: Rig) -> None:  # noqa: F811
    engine, asked = _engine(rig), call("GET", "/orders", user="alice")
    engine.request(asked)
    given = engine.response(asked.id, answer(b'{"items": [], "items": [{"id":2,"user_id":"bob"}, {"id":3,"user_id":"carol"}]}'))
    assert given.deny
    assert given.status == 403
    assert b"bob" not in (given.body or b"")
    engine.completed(completion(asked, status=403))
    record: CallRecord = rig.records.got[0]
    assert (record.action, record.would) == ("block", "block")
