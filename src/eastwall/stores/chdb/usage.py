"""Questions to the lake about who used what how much: what least privilege is worked out from."""

from __future__ import annotations

GRAVE = (
    "severity >= 4 AND confidence >= 2 AND NOT has({standing:Array(String)}, detection)"
    " AND time >= fromUnixTimestamp64Micro({since:Int64}) AND time < fromUnixTimestamp64Micro({until:Int64})"
)
"""Findings that the built-in policy would block for; not those (`standing`) that a fault of the service's set-up causes in every call."""
CLEAN = (
    "action IN ('allow', 'redact') AND status BETWEEN 100 AND 399"  # noqa: S608 - fixed text; values are bound
    f" AND (severity < 4 OR id NOT IN (SELECT call FROM findings WHERE {GRAVE}))"
)
"""Calls that did what they were meant to, and were no attack."""
WINDOW = (
    "time >= fromUnixTimestamp64Micro({since:Int64}) AND time < fromUnixTimestamp64Micro({until:Int64})"
    " AND ({service:String} = '' OR service = {service:String})"
)

SPAN = f"""
SELECT count() AS calls, uniqExact(actor) AS callers, toUnixTimestamp64Micro(min(time)) / 1e6 AS first,
  toUnixTimestamp64Micro(max(time)) / 1e6 AS last, countIf(NOT ({CLEAN})) AS left_out
FROM calls WHERE {WINDOW}
"""  # noqa: S608 - fixed text; values are bound
"""What there is in the window at all."""

SUSPECTS = f"""
SELECT actor, bad, calls FROM (
  SELECT actor, uniqExact(call) AS bad FROM findings WHERE {GRAVE} AND ({{service:String}} = '' OR service = {{service:String}}) GROUP BY actor
) AS found JOIN (SELECT actor, count() AS calls FROM calls WHERE {WINDOW} GROUP BY actor) AS all_calls USING (actor)
WHERE bad >= 3 AND bad * 20 >= calls ORDER BY bad DESC, actor LIMIT 1000
"""  # noqa: S608
"""Callers whom nothing is to be learned from: three such calls, and one in twenty of theirs, at least."""

USES = f"""
SELECT service, method, endpoint, template, if(has({{known:Array(String)}}, endpoint), '', path) AS way, actor_class AS cls,
  actor_kind AS kind, min(strength) AS strength, count() AS calls, uniqExact(actor) AS callers,
  groupUniqArray(100)(cityHash64(actor)) AS who, uniqExact(toDate(time)) AS days,
  toUnixTimestamp64Micro(max(time)) / 1e6 AS last
FROM calls WHERE {WINDOW} AND {CLEAN} AND NOT has({{suspects:Array(String)}}, actor)
GROUP BY service, method, endpoint, template, way, cls, kind ORDER BY service, calls DESC, method, template, way, cls, kind LIMIT 50000
"""  # noqa: S608
"""Clean use by operation and class of callers. `way` is the path, where the endpoint of that time is not among the `known` ones."""

PACES = f"""
SELECT service, cls, kind, max(each) AS most, uniqExact(actor) AS callers, sum(each) AS calls FROM (
  SELECT service, actor_class AS cls, actor_kind AS kind, actor, toStartOfMinute(time) AS minute, count() AS each
  FROM calls WHERE {WINDOW} AND {CLEAN} AND NOT has({{suspects:Array(String)}}, actor)
  GROUP BY service, cls, kind, actor, minute)
GROUP BY service, cls, kind ORDER BY service, cls, kind LIMIT 10000
"""  # noqa: S608
"""The most that one caller of a class did to a service in a calendar minute."""

DATA = f"""
SELECT service, endpoint, data_class, actor_class AS cls, actor_kind AS kind, min(strength) AS strength, count() AS calls
FROM calls ARRAY JOIN data_classes AS data_class
WHERE {WINDOW} AND {CLEAN} AND NOT has({{suspects:Array(String)}}, actor)
GROUP BY service, endpoint, data_class, cls, kind ORDER BY service, data_class, endpoint, cls, kind LIMIT 50000
"""  # noqa: S608
"""Which classes of callers met which data classes in calls (in either direction)."""
