"""How a call differs from learned behaviour. Each model of `behaviours` has a struct of its own here; detections judge them."""

from __future__ import annotations

from msgspec import Struct


class Deviation(Struct, frozen=True):
    """What all have. Detections pick theirs by type."""

    place: str
    """Where in the message: `body.items[].owner_id`, `operation`, `session`."""


class OwnerMismatch(Deviation, frozen=True):
    """A value that tells whose the data is, and learned calls had the caller's own there: it is another's (`ownership_claims`)."""

    claim: str
    """Claim of the caller that the place equalled (`sub`, `tenant`); `alias`: the caller's own id at the service, as its answers told."""
    shown: str
    """What stands there now, fit to show."""
    equal: int
    """Learned calls in which the place held the caller's own."""
    of: int
    """Learned calls that had the place."""
    confidence: str = "high"
    """`high`, `medium` or `low` (the caller holds the object, or acts for somebody)."""
    subject: str = ""
    """The object that is another's, fit to show: `order 1043`; empty where it has no id."""
    items: tuple[tuple[str | int, ...], ...] = ()
    """Of an answer that lists: the paths in its body of the items that are another's."""
    listed: int = 0
    """Items of the list; 0: the answer is no list."""


class NeverGiven(Deviation, frozen=True):
    """An object that no answer ever gave the caller, where callers of its class name what they were given and nothing else
    (`ownership_claims`)."""

    kind: str
    shown: str
    """The object, fit to show."""
    given: int
    """Learned calls that named what their callers had been given."""
    of: int
    actors: int
    """Callers that this rests on, at most 32 told apart."""
    others: int
    """How many others are known to hold it; 0: nobody."""
    confidence: str = "high"


class OthersGiven(Deviation, frozen=True):
    """An answer to a call that names somebody by a parameter (`place`) that was never sent there gives objects that others alone hold
    (`ownership_claims`)."""

    kind: str
    count: int
    """Objects of others in the answer."""
    listed: int
    """Objects of the kind in the answer."""
    alone: float
    """Share of the kind's learned objects that one actor holds alone, in tenths, 0..1."""
    confidence: str = "medium"


class UnusualVolume(Deviation, frozen=True):
    """A caller was given, or did, far more in a window than its class of callers ever did there (`volumes`)."""

    measure: str
    """What was counted, for a sentence: `orders given`, `calls`, `calls of GET /export`, `records`, `bytes`, `email values`."""
    amount: int
    """In the window, this answer included."""
    window: str
    """`hour`, `day` or `week`."""
    limit: int
    """Above which it is told."""
    greatest: int
    """The most that any caller of the class had in such a window; without the one caller who had most, where there are many."""
    cells: int
    """Caller-windows that this rests on."""
    actors: int
    """Callers, at most 64 told apart."""
    cls: str
    shown: str
    """The caller, fit to show."""
    confidence: str = "medium"
    """`low`: little is learned, or one caller of the class did come near."""
    derived: bool = False
    """Too few such windows were seen: what hours held was taken for a working day, or week, of such hours."""


class DataNotSeen(Deviation, frozen=True):
    """An answer gives a data class to a class of caller that never had it from this operation (`volumes`)."""

    data_class: str
    sensitivity: str
    """`medium`, `high` or `critical`."""
    cls: str
    answers: int
    """Clean calls of the operation by this class."""
    others: tuple[str, ...] = ()
    """Classes that do get it."""
    masked: str = ""
    sure: bool = False
    """The value stands where no answer ever had one, or in many entries: no word of a free text."""


class NewEdge(Deviation, frozen=True):
    """A workload with a settled behaviour calls what it never called, or from where it never called (`edges`)."""

    kind: str
    """`service`, `operation` or `source`."""
    caller: str
    target: str
    """The service, the operation, or the network."""
    calls: int
    """Calls of this caller that were learned."""
    known: int
    """Services, operations or networks that it is known to use."""
    days: float
    """For so long."""
    reach: tuple[str, ...] = ()
    """What makes it grave: `admin`, `sensitive data`, `objects of single callers`, `public network`."""
    failures: int = 0
    """Refusals (401, 403, 404) of this caller in the last minutes."""
    suspicious: bool = False
    """It had a suspicious finding in the last minutes."""
    uses: int = 0
    """Objects it used over edges that are new, this call's included, in the last hour."""


class WeakerUse(Deviation, frozen=True):
    """A call of an operation of which a newer, or another, version checks more; or of an old version (`versions`)."""

    label: str
    """The operation called: `GET /v1/orders/{order_id}`."""
    other: str
    """The one that checks more."""
    check: str
    """`authentication`, `authorization`, `validation`, `rate limit`, `data`; empty: it is only old."""
    told: str
    """The evidence, as a clause: `41 anonymous 2xx on GET /v1/orders/{id}, none of 312 on GET /v2/orders/{id}`."""
    old: bool = False
    """It is deprecated, or of an older version."""
    exploited: bool = False
    """This very call uses what is missing."""


class UpstreamChange(Deviation, frozen=True):
    """A third party's answer is not what its answers were (`upstream`)."""

    kind: str
    """`type`, `missing`, `new` or `size`."""
    expected: str
    found: str
    samples: int
    changes: int = 1
    """Places that changed so."""


class UpstreamValue(Deviation, frozen=True):
    """A value of a third party's answer that looks as if it were meant to be carried out (`upstream`)."""

    text: str
    """The value; of this call alone, kept nowhere."""
    hint: str
    """Why it was picked: `markup`, `sql`, `template`, `command`, `url`, `prompt`."""


class UpstreamRedirect(Deviation, frozen=True):
    """A third party's answer sends us on to where it never did (`upstream`)."""

    host: str
    url: str
    """Without query."""
    answers: int
    """Answers of this third party that were learned."""
    known: tuple[str, ...] = ()
    """Hosts it did redirect to."""
    own: str = ""
    """Host that was asked."""


class ObjectEnumeration(Deviation, frozen=True):
    """The caller names ever more objects that it was never given (`enumeration`)."""

    kind: str
    """Kind of the objects."""
    shown: str
    """The one of this call, fit to show."""
    how: str
    """`row`: they follow one another. `failing`: the service knows most of them not, or refuses them. `many`: there are too many.
    `unknown`: nothing is learned of the kind, and the service refuses nearly all of them.
    `source`: they follow one another over several callers of one address. `pattern`: over callers of one make of client."""
    ids: int
    """Distinct objects within the window, this one included."""
    window: float
    """Seconds."""
    failing: int
    """Of them, how many the service did not give."""
    usual: int
    """What learned callers of the class had at most in such a window."""
    callers: int
    """Learned callers that this rests on; 0: nothing is learned of the class yet."""
    others: int = 0
    """`source`, `pattern`: callers that take part."""


class SkippedStep(Deviation, frozen=True):
    """What always comes before this operation did not (`sessions`)."""

    missing: str
    """The operation that did not come, fit to show."""
    kind: str
    """Kind of the object on which it was missed; empty: by the caller."""
    shown: str
    """The object, fit to show."""
    calls: int
    """Learned calls that the rule rests on."""
    held: int
    """Of them, how many had it before."""
    each: bool
    """It comes anew before each. Otherwise once before the first."""
    causal: bool
    """The order is plausibly a cause, not a habit of callers."""
    repeats: int = 0
    """Directly before, and within a minute, the caller did the same so many times: a retry is one."""
    cls: str = ""
    """Class of callers for which the rule holds; empty: for all."""
    named: bool = False
    """By its name too the operation presumes the missing one: `refund` and `pay`."""
    stale: float = 0.0
    """It did come, so many seconds ago, when in all learned cases it was half an hour at most; 0: it did not."""
    pooled: int = 0
    """Learned cases of operations with the same name on objects of other kinds, which say the same."""


class RepeatedStep(Deviation, frozen=True):
    """What is done once is done again by the same caller (`sessions`)."""

    scope: str
    """`value`, `actor` or `object KIND`."""
    shown: str
    """The code (masked) or object; empty for `actor`."""
    times: int
    """How often it was done before, calls on their way included."""
    seconds: float
    """Since the last time."""
    things: int
    """Learned things on which it was done."""
    again: int
    """Of them, on how many a second time."""
    named: bool
    """By its name too it is done once."""
    pooled: int = 0
    """Learned things on which operations with the same name, for other kinds, were carried out once."""


class AutomatedPace(Deviation, frozen=True):
    """A caller changes things at a pace that no caller of its class ever showed (`sessions`)."""

    cls: str
    changes: int
    """Within about ten seconds."""
    run: int
    """Changes without a second's pause."""
    operations: int
    """Distinct operations among them, at most 4 told apart."""
    variation: float
    """Coefficient of variation of the gaps: 0 is a clock's."""
    usual: int
    """Most changes within ten seconds of learned callers."""
    usual_run: int
    callers: int
    """Learned callers of the class."""
    hours: int = 0
    """Set alone: in so many hours of the last 24 the caller was active."""
    usual_hours: int = 0


class UnusualSequence(Deviation, frozen=True):
    """A session whose calls follow one another as no learned session's did (`sessions`)."""

    operation: str
    """The strangest step, fit to show."""
    before: str
    """The operation before it."""
    times: int
    """How often it was learned to follow that one."""
    of: int
    """All that was learned to follow that one."""
    bits: float
    """Mean surprise of the session's steps."""
    usual: float
    """The greatest mean of a learned caller of its class."""
    callers: int
    steps: int


class ChosenFreely(Deviation, frozen=True):
    """Excuses rather than accuses: at this place callers of this class name, as a matter of course, objects that no answer gave them
    (`ownership_claims`): a catalogue that is not asked for, staff with numbers from letters and calls."""


class Harvest(Deviation, frozen=True):
    """The caller asks one operation for far more than callers of its class do (`harvesting`)."""

    operation: str
    """The operation, fit to show: `GET /products`."""
    what: str
    """`pages` (of a list), `queries` (of a search), `objects` (one by one)."""
    how: str
    """`pace`: calls within a minute. `row`: objects whose ids follow one another. `hour`, `day`: different ones within."""
    count: int
    """Within the window, before this call."""
    window: float
    """Seconds."""
    usual: int
    """What learned callers of the class had at most in such a window."""
    callers: int
    """Learned callers that this rests on."""


class CredentialMoved(Deviation, frozen=True):
    """A credential is used where, and with what, it never was (`credential_use`)."""

    how: str
    """`moved`: a token from a network and with a make of client that are both new to its actor. `stranger`: and nobody of the class uses that
    make. `together`: and its own place uses it at the same time. `network`: a workload's, from a network that it never called from. `issued`: a token that
    was first seen, less than a day ago, at a network and with a make of client that were both new to its actor: he may have signed in anew."""
    agent: str
    """Product of this call's user agent, fit to show."""
    before: str
    """Product of the one before; empty for `network` and `issued`."""
    networks: int
    """Networks that the credential was used from."""
    since: float
    """Seconds since it was used at its own place."""
    credentials: int
    """`network`: learned calls of the workload. Else: learned uses of credentials of the class at new places."""
    callers: int
    """Learned callers that this rests on; 0: nothing is learned yet."""
    foreign: bool = False
    """No two learned callers of any class use such a client, and it is no browser."""


class AuthenticationAbuse(Deviation, frozen=True):
    """More attempts on accounts than people make (`authentication`)."""

    how: str
    """`spraying`: accounts that failed from one address. `guessing`: failures of one account. `surge`: accounts that failed with one make of
    client from many addresses. `codes`: codes that failed. `resets`: accounts for which one address asks for a reset. `flood`: resets of one
    account. `lookups`: accounts that one address asks about without going on."""
    count: int
    """Different ones within the window, before this call."""
    window: float
    """Seconds."""
    usual: int
    """What the learned most of them was."""
    callers: int
    """Learned addresses that this rests on; 0: nothing is learned yet."""
    sources: int = 0
    """Different addresses, where there are several."""


class AnswersTell(Deviation, frozen=True):
    """What an operation answers tells existing accounts from others (`authentication`)."""

    operation: str
    """The operation, fit to show."""
    by: str
    """`answer` or `time`."""
    existing: int
    """Failures of existing accounts that this rests on."""
    others: int
    """Failures of others."""
    shown: str
    """How they differ: `401 against 404`, `median 180 ms against 12 ms`."""


class FunctionDeviation(Deviation, frozen=True):
    """The caller's class does not use this operation, or those that it belongs to; or the caller lacks a scope that its callers bear
    (`functions`)."""

    what: str
    """The operation, fit to show."""
    group: str = ""
    """The path below which nobody of the class calls anything; empty: the operation itself is known."""
    calls: int = 0
    """Clean calls that this rests on."""
    classes: tuple[str, ...] = ()
    """Who made them, most calls first."""
    expected: float = 0.0
    """Of these calls, how many the caller's class would have made, had it used them as it uses the service; of a scope, how many would have
    lacked it."""
    privileged: bool = False
    """Only classes of more authority use it, or it is administrators' by its name."""
    scope: str = ""
    """The scope that the caller lacks."""
    chance: float = 1.0
    """See `FunctionUse.chance`."""
    unheard: bool = False
    """A header means another operation, in none of `calls` calls of the service two callers sent one, and one of both operations is unknown."""


class FirstUse(Deviation, frozen=True):
    """Excuses nobody and accuses nobody: the caller changes something by an operation that nobody of its class ever used, or, of a class with
    authority, that it never used itself (`functions`)."""

    what: str
    """The operation, fit to show."""
    cls: str
    calls: int
    """Clean calls of the class in the service."""
    others: int
    """Clean calls of the operation, all by others; 0: nobody ever called it."""
    own: bool = False
    """Its class uses it: the caller itself never did."""
    authority: bool = False
    """The class has some, or is one of programs."""


class NumberOutside(Deviation, frozen=True):
    """A number of a request is unlike all that several callers ever sent there (`values`)."""

    how: str
    """`huge`, `zero`, `negative`, `fraction` or `text` (a number written as a string)."""
    value: float
    least: float
    """The least that learned callers sent: that of the third caller from below, so that no single one moves it."""
    most: float
    """The greatest likewise."""
    calls: int
    """Learned calls that had the number."""
    actors: int
    """Their callers, at most 16 told apart."""
    far: bool = False
    """So far outside that no spread of the learned numbers reaches it."""


class WordNotSeen(Deviation, frozen=True):
    """A word of a request stands where callers only ever sent a few others (`values`)."""

    shown: str
    words: tuple[str, ...]
    """What callers send, most often sent first; at most 6."""
    calls: int
    actors: int
    """At most 16 told apart."""
    answered: bool = False
    """Answers hold the word under this name: it is the service that sets it."""
    classes: tuple[str, ...] = ()
    """Other classes of callers that do send it."""


class RelationBroken(Deviation, frozen=True):
    """Two or more values of a request that belonged together in learned calls, and do not here (`values`)."""

    relation: str
    """For a sentence: `total = price x quantity`."""
    shown: str
    """What stands there: `1`."""
    expected: str
    """What the relation gives: `349.9`."""
    held: int
    """Learned calls in which it held."""
    of: int
    """Learned calls that had all its values."""
    actors: int
    """Callers, at most 16 told apart."""
    far: bool = False
    """By more than a twentieth: neither rounding nor a small charge."""


class ValueReused(Deviation, frozen=True):
    """A value that learned callers used once is used again (`single_use`)."""

    shown: str
    times: int
    """Successful uses before this one."""
    by: str
    """`caller`: nobody uses it twice. `anybody`: it is used once at all."""
    uses: int
    """Learned uses of such values."""
    actors: int
    """Their callers, at most 64 told apart."""


class FieldNotGiven(Deviation, frozen=True):
    """An answer gives a property to a class of callers that never got it from this operation (`exposure`)."""

    cls: str
    answers: int
    """Learned answers to this class."""
    classes: tuple[str, ...] = ()
    """Other classes that do get it, most answers first."""
    others: int = 0
    """Answers to them that had it."""
    authority: bool = False
    """Those classes are of authority, all of them, and this one is not."""
    callers: int = 0
    """Callers of this class who got it since, this one included: a release gives it to everybody."""
