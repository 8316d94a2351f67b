"""Words that published APIs use as route names: weak evidence that a segment is a name.

From the paths of the development documents of `bench.discovery` (words that two providers or more use), and from general knowledge.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from math import log2
from re import compile as regex

_LIST = """
    abort about accept access account accounts ack acknowledge acknowledgements actions activate activation active activities
    activity ad add address addresses adjust adjustments admin administration admins advanced advertisements affiliates agenda
    agent agents agreements album albums alerts aliases all allocate allow analysis analytics announcements answer any api app
    append application applications apply appointments approval approve apps archive archived area areas articles artifacts
    artist artists assessments assets assign assignment associated attachment attachments attendance attendees attributes
    auctions audio audit auth authenticate author authorization authors auto autocomplete availability available avatar awards
    background backgrounds badge badges balance balances bank banks banners base basket baskets batch beneficiaries bids
    billing bills blobs block blocks board boards book bookings bookmarks books bounce branch branches brand brands broadcast
    browse bucket buckets budget budgets build builds bulk bundle bundles business businesses buy by cache calculate calendar
    calendars call callback calls campaign campaigns cancel cancellations candidates capabilities captcha capture card cards
    cart carts cases catalog catalogs catalogue categories category certificate certificates challenge challenges changes
    changeset channel channels charge charges chart chat check checkin checkout checks children cities city claim claims class
    classes clear client clients clone close cluster clusters code codes collect collection collections comment comments
    commit commits companies company compare complaints complete components compute conditions config configuration
    configurations confirm connect connection connections consent consents console constants consumers contact contacts
    content contract contracts contributors conversations convert copy costs count countries coupon coupons courses coverage
    cpu create creator credential credentials credit crm csv currencies currency current custom customer customers cycles
    daemon daily dashboard data databases dataset datasets day days deactivate deals debit debug decline decode decrypt
    default definitions delete deliveries delivery departments deploy deployment deployments describe description destination
    destinations detail details device devices diagnostics dictionary diff digest directories directory disable disconnect
    discount discounts discovery dismiss dispatch display disputes distance dns docs document documentation documents domain
    domains download downloads draft drafts driver drivers duplicate edges edit editor education elements email emails emoji
    employee employees enable encode encrypt end endpoint endpoints engine enroll enrollments entities entity entries entry
    enum environment environments error errors estimate estimates evaluate evaluation event events example exams exchange
    execute executions exit expenses experiments expire explore export exports extend extensions external facets factor failed
    fallback families faq favorites favourites featured features feed feedback feeds fees fetch field fields file files filter
    filtered filters finance find flags fleet flights flow flows folder folders follow followers following for forecast
    forecasts fork form format formats forms forum friends from full functions funds gallery game games gateway gateways
    generate genres geo geocode get gifts git global goals google grants graph graphql group groups guest guests guides head
    health healthz heartbeat help hide highlights hint history holds holidays home hooks host hosts hotels hours html id
    identities identity image images impact impersonate import in inbox incidents include indexes industries info ingest
    ingredients initialize insert insights inspect install installations instance instances instruments insurance integration
    integrations interests internal invalidate inventory invitation invitations invite invited invites invoice invoices ip ips
    issuers issues item items job jobs join journal journeys json key keys knowledge labels landing language languages last
    latest layers layouts leaderboard leads learn leave led ledger legal lessons levels lfs libraries library license licenses
    like likes limits line lines link linked links list listings lists live load loans locales locate location locations lock
    log login logo logout logs long lookup loyalty mail maintenance manage managed manager mandates manifest manufacturers map
    mapping maps mark market markets match matches materials me meals media meetings member members memberships menu menus
    merchant merchants merge merges message messages meta metadata methods metric metrics mfa migrate migrations milestones
    missing mobile mode model models modules monitor monitoring month monthly most move movies multiple mute my name names
    namespaces navigation nearby nearest network networks new news newsletter newsletters next node nodes note notes
    notification notifications notify number numbers oauth object objects of offers office offices on onboarding one only open
    operations operators options order orders org organizations orgs origin outbound outlets overrides overview owner owners
    pac packages page pages pair panel parent parents parse participants partner partners party password pause payees payers
    payload payment payments payouts pdf peers pending people performance period permission permissions person personal
    persons phone phones photo photos pickup pin ping pins pipelines places plan plans platform play player players playlist
    playlists plugins podcasts poi points policies policy poll polls pool pools popular portal portfolio portfolios position
    positions post posts pre predict predictions preferences prefix preview previews price prices pricing principals print
    priorities privacy private processes product products profile profiles profit programs progress project projects promote
    promotions properties proposals protocols provider providers provision proxies public publish published publishers pull
    purchase purchases push qr quality query questions queue queues quiz quota quotas quote random rank rankings rate rates
    rating ratings raw read ready rebuild receipts recent recipes recipients recommend recommendations reconcile record
    recordings records recover redeem redirect ref references referrals refresh refund refunds regenerate region regions
    register registration registrations reindex reject related relations release releases reload remind reminders remove
    rename render renew rentals replies reply report reporting reports repos repositories repository request requests required
    rerequest resend reservations reserve reset resolve resource resources rest restart restaurants restore results resume
    retrieve retry return returns revenue reverse revert review reviews revisions revoke rewards rides risk role roles
    rollback room rooms root rotate route routes routing rows rule rules runners runs sales sample samples save saved scan
    schedule schedules schema schemas schools scope scopes score scores screens screenshot search season seasons secret
    secrets section sections sectors security segments select selected self seller sellers send series servers service
    services session sessions set setting settings settle settlements setup shape shards share shipment shipments shipping
    shop shops show shutdown signatures signin signing signout signup similar simulate single site sites skills sku skus slots
    sms snapshot snapshots social socket songs sort source sources spaces speakers spec specs sports ssh sso staff standings
    star starred start state statement statements stations statistics stats status statuses stock stocks stop storage store
    stores stories stream streams streets students sub submissions submit subscribe subscribers subscription subscriptions
    suggest suggested suggestions sum summaries summary suppliers support surveys suspend swagger switch symbols sync system
    systems tables tag tags targets task tasks tax taxes teachers team teams template templates tenant tenants terminate terms
    test tests text themes threads thumbnail ticket tickets tiers time timeline timezones to today token tokens tools top
    topic topics totals trace tracking tracks trade trades traffic trailers training transaction transactions transfer
    transfers transform transit transitions translate translations transport trash tree trending trends trigger triggers trips
    tweets two type types unblock unfollow unlink unlock unpublish unread unset unsubscribe up upcoming update updated updates
    upgrade upload uploads url urls usage user username users utils uuid vaccines validate validation values variables
    variants vault vehicles vendor vendors venues verification verify version versions views visitors visits voice volumes
    vote votes vouchers wallet wallets warehouses watch watchers watchlist weather webhook webhooks week weekly whitelist
    whoami widgets wireless wishlist with withdraw withdrawals without words workers workflow workflows workouts workspace
    workspaces xml yearly zone zones
"""
_WORDS = frozenset(_LIST.split())
_PART = regex(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_PAIRS = Counter(a + b for word in _WORDS for a, b in zip(f"^{word}", f"{word}$", strict=True))
_FIRSTS = Counter(pair[0] for pair in _PAIRS.elements())
_USUAL = {
    a + b: log2(27 * (_PAIRS[a + b] + 0.3) / (_FIRSTS[a] + 8))
    for a in "^abcdefghijklmnopqrstuvwxyz"
    for b in "abcdefghijklmnopqrstuvwxyz$"
}
"""Pair of letters (`^` and `$`: ends) -> bits by which it is more frequent in these words than at random."""


@lru_cache(maxsize=65_536)
def pronounceable(segment: str) -> float:
    """Mean bits per pair of letters by which the segment's letters follow each other as in words: above 0 for words, below for
    random letters; 0 for fewer than four letters."""
    bits, pairs = 0.0, 0
    for part in _PART.findall(segment):
        text = f"^{part.lower()}$"
        bits += sum(_USUAL[text[at : at + 2]] for at in range(len(text) - 1))
        pairs += len(text) - 1
    return bits / pairs if pairs > 4 else 0.0


@lru_cache(maxsize=65_536)
def share_of_api_words(segment: str) -> float:
    """Share of the segment's letters that belong to such words, 0..1. `checkout-key`, `getUserInfo` and `api_keys` are taken apart."""
    parts = _PART.findall(segment)
    total = sum(map(len, parts))
    return sum(len(part) for part in parts if part.lower() in _WORDS) / total if total else 0.0
