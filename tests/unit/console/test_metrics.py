"""Prometheus text: escaping, numbers, and what a status gives."""

from __future__ import annotations

import math

from eastwall.exports.metrics import Family, exposition, families


def test_hostile_labels_stay_one_line():
    hostile = 'a"} 1\nfake_metric{x="\\'
    text = exposition([Family("m", "gauge", "h\nelp\\", (((("l", hostile),), 1.0),))])
    assert text == '# HELP m h\\nelp\\\\\n# TYPE m gauge\nm{l="a\\"} 1\\nfake_metric{x=\\"\\\\"} 1\n'


def test_numbers_are_written_as_the_format_wants():
    samples = tuple(((("n", str(i)),), value) for i, value in enumerate((3.0, 0.5, math.inf, -math.inf, math.nan, 2.0**60)))
    lines = exposition([Family("m", "gauge", "x", samples)]).splitlines()[2:]
    assert [line.split()[1] for line in lines] == ["3", "0.5", "+Inf", "-Inf", "NaN", "1152921504606846976"]


def test_what_a_status_does_not_hold_is_left_out():
    assert [f.name for f in families({})] == ["eastwall_info"]
    status = {
        "version": "1",
        "lake": {"calls": 5},
        "services": [{"name": "a", "mode": "enforce", "endpoints": 2}],
        "engines": [{"name": "0", "alive": False, "tables": {"grants": 7}}],
        "uninspected": {"counted_by": {"envoy": {"a": {"engine-timeout": 3}}, "records": {}}},
        "faults": {"recorder": "full"},
        "envoy": {"calls": {"a": 9}, "refused": {"a": {"no-admin": 4}}},
    }
    text = exposition(families(status))
    for line in (
        "eastwall_calls_stored_total 5",
        'eastwall_service_mode{service="a"} 2',
        'eastwall_engine_up{engine="0"} 0',
        'eastwall_engine_table_size{engine="0",table="grants"} 7',
        'eastwall_uninspected_total{counted_by="envoy",reason="a/engine-timeout"} 3',
        'eastwall_fault{part="recorder"} 1',
        'eastwall_envoy_refused_total{service="a",policy="no-admin"} 4',
    ):
        assert f"\n{line}\n" in f"\n{text}"
