"""What a clean call says of objects: who holds them, and what was done to them."""

from __future__ import annotations

from eastwall.behaviours.sketch import hash64
from eastwall.discovery.objects import made_kind
from eastwall.learning.ownership import ANONYMOUS, Ownership
from eastwall.learning.profile import Profile
from eastwall.learning.steps import CREATED, Steps
from eastwall.model.endpoint import Endpoint
from eastwall.model.record import CallRecord


def learn_objects(objects: Ownership, record: CallRecord) -> None:
    """Learn who holds what from a clean call."""
    actor, cls = record.actor, record.actor_class
    if not actor or record.strength == 0:
        # An address stands for nobody in particular. What may be read without any identity belongs to nobody either.
        if record.method == "GET":
            for _, kind, key in record.used:
                objects.use(kind, key, ANONYMOUS, "", record.time)
        return
    if record.tenant:
        objects.belongs(actor, record.tenant)
    created = record.status == 201 and record.method == "PUT"
    used, given = record.used, record.given
    asked = {(kind, key): created and place.startswith("path.") for place, kind, key in used}
    if given:
        # Before its template is known nobody can tell what a path names: it may have been what was given.
        unread = record.method == "GET" and (
            not record.endpoint or (bool(record.echoed) and not any(place.startswith("path.") for place, _, _ in used))
        )
        unasked = [one for one in given if one not in asked] if asked else given
        objects.give_all(unasked, actor, cls, record.time, asked=unread)
    for one, made in asked.items():
        if made or one in given:
            objects.give(*one, actor, cls, record.time, asked=not made)
        else:
            objects.use(*one, actor, cls, record.time)


def learn_steps(steps: Steps, record: CallRecord, profile: Profile) -> None:
    """Learn what a clean call did to which objects. A POST to a collection that gives one object of its kind unasked has made it."""
    actor = hash64(record.actor)
    named = {(kind, key) for _, kind, key in record.used}
    for kind, key in named:
        steps.note(kind, key, profile.key, actor, record.time)
    if record.method == "POST" and record.given:
        endpoint = Endpoint(
            profile.key, record.service, profile.method, profile.template, protocol=profile.protocol, operation=profile.operation
        )
        own = made_kind(endpoint)
        made = [(kind, key) for kind, key in record.given if kind == own and (kind, key) not in named]
        if len(made) == 1:
            steps.note(own, made[0][1], CREATED, actor, record.time)
