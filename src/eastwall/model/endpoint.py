"""What is known of an API: endpoints and their learned profiles."""

from __future__ import annotations

from msgspec import Struct


class Parameter(Struct, frozen=True):
    """A path parameter."""

    name: str
    """e.g. `order_id`."""
    kind: str
    """Value kind by evidence: `integer`, `uuid`, `hex`, `ulid`, `date`, `email`, `slug`, `string`."""


class ObjectParameter(Struct, frozen=True):
    """A place in a request that names an object."""

    place: str
    """`path.order_id`, `query.account`, `body.order_id`."""
    kind: str
    """Object kind, e.g. `order`."""
    exclusive: bool
    """Learned: objects of this kind are used by the one actor they were given to. Only exclusive kinds are judged."""
    confidence: float
    """0..1."""
    evidence: str = ""
    """One plain sentence with counts."""
    broad: tuple[str, ...] = ()
    """Identity classes whose members see everybody's objects of this kind (staff, a reporting service): never judged."""
    by: str = "actor"
    """Whose such objects are: `actor`, or `tenant` (any actor of the tenant)."""
    alone: float = 0.0
    """Share of the sampled objects that one actor holds, in tenths, 0..1; 0: not known."""
    settled: tuple[str, ...] = ()
    """Identity classes whose members are known to keep to their own objects of this kind: they alone are judged; empty: all are."""
    own_names: bool = False
    """Learned: such objects are the callers themselves, each called as the caller that holds it (`user:7` is customer 7)."""


class FieldProfile(Struct, frozen=True):
    """One field of a learned schema."""

    place: str
    """Dotted path in the body with `[]` for array items and `{}` for a map's values: `items[].price`, `prices.{}`; or `query.NAME`.
    Declared parameters stand in the query schema too: `path.NAME`, `header.NAME` (lower-case), `cookie.NAME`."""
    kinds: tuple[str, ...]
    """JSON types seen: `string`, `integer`, `number`, `boolean`, `null`, `object`, `array`."""
    format: str = ""
    """`uuid`, `date`, `date-time`, `email`, `uri`, `ipv4`, ... when all strings seen had it."""
    seen: int = 0
    """Samples that had it."""
    of: int = 0
    """Samples in which its parent was there; required when `seen == of`."""
    data_class: str = ""
    """Data class of its values (`pan`, `ssn`, `iban`, `email`, `phone`, `secret`), or empty."""
    minimum: float | None = None
    maximum: float | None = None
    max_length: int = 0
    min_length: int = 0
    """Least length of strings and arrays seen; 0 when not known."""
    enum: tuple[str, ...] = ()
    """The only words its strings ever were, sorted, when they are few and often seen (see `learning.schema`)."""
    confidence: float = 0.0
    """Share of the samples that held `data_class`, 0..1, or what the field's name alone is worth."""
    deprecated: bool = False
    """Declared as deprecated."""
    required: bool | None = None
    """Declared: whether a message must have it where its parent is. None: learned, see `seen` and `of`."""


class Variant(Struct, frozen=True):
    """One form of an object that comes in several, told by a word in it (OpenAPI: `oneOf` with a discriminator)."""

    place: str
    """Place of the object: `$`, `items[]`."""
    property: str
    """Name of the telling property: `type`."""
    value: str
    """Its word in this form: `card`."""
    samples: int
    fields: tuple[tuple[str, int], ...] = ()
    """(name of a direct property, samples that had it), sorted by name."""


class Schema(Struct, frozen=True):
    """A learned message schema."""

    samples: int = 0
    fields: tuple[FieldProfile, ...] = ()
    """Sorted by place."""
    variants: tuple[Variant, ...] = ()
    """Sorted by place, property and value; empty unless forms differ in their properties."""
    media_types: tuple[str, ...] = ()
    """Media types, declared or seen, sorted. What is seen in XML has no types but text, and no lists of one item."""


class Precedent(Struct, frozen=True):
    """Learned: what was done to every object before an operation was carried out on it."""

    kind: str
    """Kind of the object."""
    endpoint: str
    """Id of the operation that comes before."""
    objects: int
    """Objects that this rests on."""
    label: str = ""
    """The operation before, fit to show: `POST /orders/{order_id}/confirm`."""


class Endpoint(Struct, frozen=True):
    """An operation of a service with everything learned about it."""

    id: str
    """Stable across re-learning: `ep_` and 12 hex digits."""
    service: str
    method: str
    template: str
    """`/orders/{order_id}`."""
    parameters: tuple[Parameter, ...] = ()
    """In path order."""
    status: str = "learning"
    """`learning` until the window has its minimum of calls, actors and time; then `learned`."""
    origin: str = "observed"
    """`observed`, `declared` (from a spec, never seen), or `both`."""
    calls: int = 0
    first_seen: float = 0.0
    last_seen: float = 0.0
    actors: int = 0
    """Distinct actors (estimate)."""
    authenticated: float = 0.0
    """Share of successful calls with an identity of strength GUESSED or better, 0..1."""
    login: bool = False
    """Takes credentials (a password-like property and answers 401/403 on failure)."""
    statuses: tuple[tuple[int, int], ...] = ()
    """(status, count), sorted."""
    request: Schema = Schema()
    responses: tuple[tuple[int, Schema], ...] = ()
    """(status, schema), sorted. Declared ones may stand for more: 1..5 for `1XX` .. `5XX`, 0 for `default`."""
    query: Schema = Schema()
    properties: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(identity class, request-body property places ever sent by it in clean calls); class `*` is the union."""
    property_calls: tuple[tuple[str, int], ...] = ()
    """(identity class, clean calls with a body that `properties` rests on)."""
    response_only: tuple[str, ...] = ()
    """Property places that responses of the same resource carry but clean requests never sent (read-only by behaviour)."""
    objects: tuple[ObjectParameter, ...] = ()
    gives: tuple[tuple[str, str], ...] = ()
    """(response place, object kind): where responses give object ids to the caller, e.g. (`items[].id`, `order`)."""
    data_classes: tuple[tuple[str, str, str], ...] = ()
    """(direction `request`|`response`, place, data class)."""
    sample_every: int = 1
    """The engine sends the full shape of one in so many calls to the learner: 1 while new or changing, more when settled."""
    protocol: str = "rest"
    """See `Operation.protocol`."""
    operation: str = ""
    """See `Operation.name`: endpoints of one path are told apart by it."""
    traits: tuple[str, ...] = ()
    """Every trait (see `Operation.traits`) that its calls had."""
    selection: tuple[tuple[str, int], ...] = ()
    """GraphQL field coverage: (path, calls that asked for it), sorted by path."""
    deprecated: bool = False
    """Declared as deprecated, or its answers carry a `Deprecation` or `Sunset` header."""
    secured: bool | None = None
    """Declared: whether a security requirement applies. None: not declared."""
    body_kinds: tuple[str, ...] = ()
    """Kinds of request bodies seen (`json`, `form`, `multipart`, `xml`, ...), sorted."""
    base: str = ""
    """Declared: path of the server that the specification names (`/api/v2`, already in `template`): what it speaks for. Empty: the
    specification names none."""
    alternatives: tuple[str, ...] = ()
    """Declared: templates of the same operation below the base paths of the document's other servers."""
    identifiable: int = -1
    """Successful calls that could tell whether there was an identity, which `authenticated` rests on: not those of a log without headers.
    -1: not counted apart."""
    accustomed: tuple[tuple[str, str, int], ...] = ()
    """(detection, place without indices, calls): findings that most of its callers cause there as a matter of course, sorted. They are
    told with confidence `low` (see `learning.habits`)."""
    after: tuple[Precedent, ...] = ()
    """What comes before this operation on the objects that it changes."""
    once: tuple[str, int] | None = None
    """(kind, objects that this rests on): the operation is carried out at most once on each object."""
    users: tuple[tuple[str, int, int], ...] = ()
    """The function matrix: (identity class, its clean calls, its actors, at most 4 of them told apart), sorted."""
    excused: tuple[tuple[str, str, str, float], ...] = ()
    """(detection, place without indices, identity class, until, Unix seconds): what an analyst said is fine here, or
    callers agree on since a release: told with confidence `low`."""
    resource_calls: int = 0
    """Clean calls with a body of all operations of its resource (`/orders` and `/orders/{order_id}`): what `response_only` rests on."""


class KnownSchemas(Struct, frozen=True):
    """What is known of an operation's messages, learned and declared apart: what SchemaPolicies hold calls against."""

    endpoint: str
    """Id."""
    learned: bool = False
    """Its learning window has its minimum of calls, actors and time."""
    request: Schema = Schema()
    """Learned."""
    responses: tuple[tuple[int, Schema], ...] = ()
    """Learned: (status, schema), sorted."""
    declared: Schema | None = None
    """Declared, of the request; None: nothing is."""
    declared_responses: tuple[tuple[int, Schema], ...] = ()
    """(status, schema), sorted; 1..5 for `1XX` .. `5XX`, 0 for `default`."""
    query: Schema = Schema()
    """Learned."""
    declared_query: Schema | None = None
    """Declared; None: the operation is not."""


class Match(Struct, frozen=True):
    """The endpoint a call goes to."""

    endpoint: Endpoint | None
    """None when nothing is known of this method and path yet."""
    params: tuple[tuple[str, str], ...] = ()
    """(parameter name, decoded value), in path order."""
    beside: Endpoint | None = None
    """Where this method of a known path is not known: an operation of another method there."""
