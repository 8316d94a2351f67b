"""Words that published APIs use as route names: weak evidence that a segment is a name."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from math import log2
from re import compile as regex

GENERAL = """
abort about accept acknowledge acknowledgements activation active ad address adjust adjustments admin administration
advertisements affiliates agenda agent agents agreements album albums all allocate allow analysis analytics announcements any
apply appointments archive archived area areas artist artists assessments assets assign attendance attendees attributes auctions
authenticate author authors autocomplete availability avatar awards badge badges balance bank banks banners basket baskets
beneficiaries bids bills block board book bookings bookmarks books branch brand brands browse bucket budget budgets bundle
bundles business businesses buy by calculate calendar calendars calls campaign campaigns cancel cancellations candidates
capabilities captcha capture cart carts cases catalog catalogs catalogue certificate certificates challenge challenges channel
charge charges chat checkin checkout children cities city claims class classes clear clone close cluster clusters collect
collection comment commit commits companies company compare complaints complete compute conditions confirm connect connection
connections consent consents console constants consumers contact contract contracts conversations convert copy costs count
coupon coupons courses cpu create crm currencies customer customers cycles daemon daily databases dataset day days deactivate
deals debit debug decline decode decrypt default definitions delete delivery departments deploy describe description destination
destinations detail details devices diagnostics dictionary digest directories directory disable disconnect discount discounts
discovery dismiss dispatch disputes distance docs document documentation domain download draft drafts driver drivers duplicate
edges edit editor education elements employee employees enable encode encrypt end endpoint endpoints engine enroll enrollments
entities entries entry enum environment error errors estimate estimates evaluate evaluation exams exchange execute executions
exit expenses experiments expire explore exports extend extensions facets fallback families faq favorites favourites features
feed feedback feeds fees fetch filter filters finance find flags fleet flights flow flows folder folders follow followers
following forecast forecasts form format formats forms forum friends from functions funds gallery games gateways geocode get
gifts goals grants graph graphql guest guests guides healthz heartbeat help hide highlights hint holds holidays home hooks host
hosts hotels hours identities identity images impersonate in inbox incidents include indexes industries info ingest ingredients
initialize insert insights inspect install installations instance instruments insurance integration integrations interests
internal invitation invitations invoice invoices issuers jobs journal journeys knowledge labels landing language languages last
latest layers layouts leaderboard leads learn ledger legal lessons levels libraries library like likes limits line lines link
list listings live load loans locales locate logo loyalty mail maintenance manage manager mandates manifest manufacturers map
maps mark market markets match matches materials me meals media meetings member menu menus merchants merge message meta metric
mfa migrate migrations mobile mode model modules monitor monitoring month monthly most move movies mute my navigation nearby
network new news newsletter newsletters next node nodes notify objects of offers office offices on onboarding only open
operations operators options origin outlets overview owner owners packages page pages pair panel parents parse participants
partner partners pause payees payers payload payments payouts peers people performance period permission person personal persons
photo photos pickup pin ping pins pipelines places plan play player players playlist playlists plugins podcasts points policies
policy polls pool pools popular portfolio portfolios positions post posts predict predictions preview previews price prices
pricing principals print priorities privacy private processes product products profit programs progress promote promotions
properties proposals protocols provider providers provision proxies publish published publishers pull purchase purchases push
quality query quiz quota quotas quote rank rankings rate rates rating ratings ready rebuild receipts recent recipes recipients
recommend recommendations reconcile record redeem redirect references referrals refund refunds region regions reindex reject
related relations release releases reload remind reminders remove rename render renew rentals reply repos repositories resend
reservations reserve reset resolve resource resources restart restaurants restore results resume retrieve retry return returns
revenue reverse revert review reviews revoke rewards rides risk role rollback rooms root route routes routing rows rule runs
sales sample samples save scan schema schemas schools scope scopes score scores screens season seasons section sections sectors
segments select self seller sellers send series servers session set settle settlements shape shards shipments shipping shop
shops show shutdown signatures signin signout signup simulate single site skills sku skus slots snapshots social songs sort
source sources spaces speakers spec specs sports staff standings start statement statements stations statistics stock stocks
stop storage store stores stories stream streams streets students submissions submit subscribe subscribers suggest sum suppliers
support surveys suspend swagger switch symbols sync system systems tables tag targets tax taxes teachers tenant tenants
terminate terms test themes threads ticket tickets tiers timeline timezones to today token top topic topics totals trace tracks
trade trades traffic trailers training transaction transfers transform transit translate translations transport trash trending
trends trigger triggers trips tweets type unblock unfollow unlink unlock unpublish unread unset unsubscribe up upcoming update
upgrade upload urls usage user users utils vaccines validate validation values variables variants vault vehicles vendor vendors
venues verification verify version views visitors visits volumes vote votes vouchers wallet wallets warehouses watch watchers
watchlist weather webhook week weekly whoami widgets wishlist with withdraw withdrawals without words workers workflow workflows
workouts workspace workspaces yearly zones
"""
"""What anybody who has seen a few APIs would list."""
SEEN = """
access account accounts ack actions activate activities activity add addresses admins advanced alerts aliases answer api app
append application applications approval approve apps articles artifacts assignment associated attachment attachments audio
audit auth authorization auto available background backgrounds balances base batch billing blobs blocks boards bounce branches
broadcast buckets build builds bulk cache call callback card cards categories category changes changeset channels chart check
checks claim client clients code codes collections comments components config configuration configurations contacts content
contributors countries coverage creator credential credentials credit csv currency current custom dashboard data datasets
deliveries deployment deployments device diff display dns documents domains downloads email emails emoji entity environments
event events example export external factor failed featured field fields file files filtered for fork full game gateway generate
genres geo git global google group groups head health history html id image impact import instances invalidate inventory invite
invited invites ip ips issues item items job join json key keys leave led lfs license licenses linked links lists location
locations lock log login logout logs long lookup managed mapping members memberships merchant merges messages metadata methods
metrics milestones missing models multiple name names namespaces nearest networks note notes notification notifications number
numbers oauth object one order orders org organizations orgs outbound overrides pac parent party password payment pdf pending
permissions phone phones plans platform poi poll portal position pre preferences prefix profile profiles project projects public
qr questions queue queues random raw read recordings records recover ref refresh regenerate register registration registrations
replies report reporting reports repository request requests required rerequest rest revisions roles room rotate rules runners
saved schedule schedules screenshot search secret secrets security selected service services sessions setting settings setup
share shipment signing similar sites sms snapshot socket ssh sso star starred state stats status statuses sub subscription
subscriptions suggested suggestions summaries summary tags task tasks team teams template templates tests text thumbnail time
tokens tools tracking transactions transfer transitions tree two types updated updates uploads url username uuid versions voice
webhooks whitelist wireless xml zone
"""
"""What two or more providers of the development documents use beside (`bench.fit_discovery --words`)."""
_WORDS = frozenset(f"{GENERAL} {SEEN}".split())
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
