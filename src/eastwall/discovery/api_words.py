"""Words that published APIs use as route names: weak evidence that a segment is a name."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from math import log2
from re import compile as regex

GENERAL = """
abort about absence absences accept accounting accruals acknowledge acknowledgements acl acls acquire acquirer acquisition
acquisitions action activation active ad addon addons address adjust adjustment adjustments admin administration adoption
advance advertisements advisories advisory affiliates agencies agency agenda agent agents aggregate aggregated aggregates
aggregation aggregations aggregator agreements airline airlines airport airports alarm alarms album albums alert algorithm
algorithms alias all allergies allocate allocation allocations allow allowance allowances alternatives amendment amendments
amenities amount amounts analysis analytics anchors animals animations annotate annotation annotations announcements anomalies
anomaly anonymous any apikey apikeys app appeal appeals applicant applicants apply appointment appointments approvals approve
approvers apr arbitrage archive archived archives area areas arrival arrivals article artifact artist artists aspect aspects
assemble assembly assessments asset assets assign assignee assignees assignments associate association associations async atom
attach attack attempt attempts attendance attendee attendees attest attestation attribute attributes attribution auctions
audience audiences audits authenticate authentication authenticator authenticators author authorities authority authorizations
authorize authorizer authors autocomplete autofill automate automation automations autoscaling availability avatar avatars
average averages awards backend backends backfill backlog backup backups badge badges balance ban bank banks banners bans bar
barcode barcodes bars baseline baselines basic basket baskets batches beacon beacons benchmark benchmarks beneficiaries
benefit benefits bid bids bills bin binary bind binding bindings bins biography birthdays blacklist block blockchain blocked
blocklist blog blogs board bodies body bonus bonuses book bookings bookmark bookmarks books boost bot bots boundaries boundary
box boxes branch brand brands breach breaches breakdown breakpoints bridge bridges broadcasts broker brokers browse browser
browsers bucket budget budgets bug bugs building buildings bundle bundles bus business businesses buy buyer buyers by bypass
bytes cabinets calculate calculation calculations calculator calendar calendars calibrate calibration callbacks calls camera
cameras campaign campaigns cancel cancellation cancellations cancelled candidates candles capabilities capability capacities
capacity captcha caption captions capture captures car carbon cards career careers cargo carousel carrier carriers cars cart
carts cases cash cast casts catalog catalogs catalogue catalogues categorize cause causes cells census center centers central
cert certificate certificates certification certifications certify certs cfg chain chained chains challenge challenges channel
chapter chapters characteristics characters charge charges charities charts chat chats checkin checklist checklists checkout
checkouts checkpoint checkpoints checksum checksums cheque child children choices chunk chunks cinema circle circles circuits
citation citations cities citizen citizens city claim claims class classes classification classifications classifier
classifiers classify clean cleanup clear clearing click clicks clinical clinics clip clips clock clone close closed closing
cloud clouds club clubs cluster clusters coaches coin coins collaborate collaborator collaborators collect collection
collectors college colleges color colors colours column columns command commands comment commission commissions commit commits
commodities common communication communications communities community compact companies company compare comparison
compatibility compensation competition competitions competitor competitors compile complaints complete completed completion
completions compliance component components compose compress computation compute computer computers concept concepts condition
conditions conf conference conferences confirm confirmation confirmations confirmed conflict conflicts connect connected
connection connections connectivity connector connectors consent consents console constants constraint constraints consumer
consumers consumption contact container containers contains contest contests context contexts continue contract contracts
contribution contributions control controller controllers controls conversation conversations conversion conversions convert
cookie cookies coordinate coordinates copies copy copyright core corporate correct correction corrections correlation
correlations cost costs count counter counters counties county coupon coupons course courses court courts cover covers cpu
create creation creators credits crew crews criteria crm cron crop crops crypto cryptocurrencies cubes cumulative curated cure
currencies curve curves customer customers customization customize customs cycle cycles daemon daily damage damages dashboards
databases datacenter datacenters dataset datasource datasources datastore datastores date dates day days deactivate deal
dealer dealers deals death deaths debit debtors debts debug decision decisions decline decode decoder decommission decrement
decrypt deduct deductible deductions default defect defects definitions delay delays delegate delegates delegation delegations
delete deleted delisted deliver delivery delta deltas demand demands demo demographics demos denied deny department
departments departure departures dependencies dependency dependents deploy deposit deposits deprecate deprecated depth
derivatives derive describe description descriptor descriptors design designs desktop destination destinations destroy detach
detached detail details detect detection detections detector detectors developer developers device devices devops diagnose
diagnoses diagnosis diagnostic diagnostics diagrams dialog dialogs dictionary diets digest dimension dimensions direct
direction directions directories directors directory disable disabled disbursement disbursements disclosures disconnect
discount discounts discoveries discovery discussion discussions disk disks dismiss dispatch dispatches disposition
dispositions disputes distance distances distribution distributions district districts dividend dividends docker docs doctor
doctors document documentation domain donate donation donations donor donors doors dossier dossiers download downtime draft
drafts drain driver drivers drop drops drug drugs due duplicate duration durations duties duty earn earnings echo edges edit
edition editions editor editors education election elections electricity elements elevation elevations eligibility eligible
embed embedded embedding embeddings emergency emission emissions emojis employee employees employer employers employment empty
emulate enable encode encoder encoding encounter encounters encrypt encryption end ended endpoint endpoints ends energy
enforce engagement engagements engine enrich enriched enrichment enroll enrollment enrollments enrolment ensemble enterprise
enterprises entities entitlement entitlements entity entries entry entrypoints enum env envelope envelopes environment episode
episodes epoch epochs equipment equipments equity erase error errors escalate escalation escalations escrow establishments
estate estimate estimates etag eth ethereum evaluate evaluation evaluations evict evidence evidences exams exception
exceptions exchange exchanges exclude exclusion exclusions exec execute execution executions executor executors exhibitions
exist exists exit expand expansion expense expenses experience experiences experiment experiments expert experts expiration
expirations expire expired expiry explain explanation explore explorer exports exposure exposures expression expressions
extend extension extensions external extract extraction extracts face faces facet facets facilities facility fact factories
factors factory facts failover failure failures fallback families fan fans faq fare fares farm farms favicon favorite
favorites favourite favourites fax features federal federated federation fee feed feedback feeds fees fetch fiat figure
figures file filing filings fill fills filter filters finalize finance financial financials find fine fines fingerprint
fingerprints firewall firewalls firmware firmwares fiscal fix fixes fixture fixtures flag flags flash flavor flavors fleet
flight flights flow flows flush focus folder folders follow followers following font fonts food foods footer footprint force
forecast forecasts foreign fork forks form format formats forms formula formulas forum forward forwarding forwards foundation
fraction fragment fragments frame frames framework frameworks fraud free freeze frequencies frequency friend friends
friendship friendships from fs fuel fulfil fulfill fulfillment fulfillments func function functions fund funding funds funnel
funnels future futures gain gainers galleries gallery games garbage gas gateway gateways gauge gender gene generation
generator generators generics genes genre geo geocode geocoding geofence geofences geography geoip geojson geolocation
geometry get gift gifts giveaways global glossaries glossary goal goals goods governance government gpu grade grades grading
grant grants graph graphql graphs greeting grid grids gross ground groupings growth gtfs guarantee guarantees guardian
guardians guardrails guesses guest guests guidance guide guideline guidelines guides guild guilds gw handle handler handlers
handles handover handshake hardware hash hashes hashtag hashtags hazard hazards header headers headline headlines health
healthcheck healthz heartbeat heatmap height help hide hierarchies hierarchy high highlights hint histogram historical
histories history hit hits hold holder holders holding holdings holds holiday holidays home homepage hook hooks hospital
hospitals host hosted hosting hosts hotel hotels hotlines hour hourly hours household households housing hr html http https
hub hubs human humidity hybrid hyperlinks ical icon icons idea ideal ideas identification identifier identifiers identify
identities identity idle idp ignore ignored illustrations imagery images img immunization immunizations impact impersonate
impl implementation implementations import imported imports impression impressions improve in inactive inbound inbox incentive
incentives incident incidents include income incoming increment index indexer indexes indicator indicators indices individual
individuals industries industry inference influencers info ingest ingestion ingredients ingress inherit init initial
initialization initialize initiate inline input inputs inquire inquiries inquiry insert insights inspect inspection
inspections inspector inst install installations installed installer instance institution institutions instruction
instructions instructor instructors instruments insurance insured insurer insurers integrate integration integrations
integrity intelligence intent intents interaction interactions interactive interest interests interface interfaces
intermediate internal internet interpret interval intervals interview interviews intraday introspect introspection invalid
inventories inventory inverters invest investigate investigation investigations investment investments investor investors
invitation invitations invocation invocations invoice invoices invoicing invoke io iot ipv issuance issue issuer issuers
iteration iterations itineraries itinerary jobs journal journeys jwks jwt kanban kb kernel kernels keypair keypairs keystore
keyword keywords kit kits knowledge kpi kpis kyb kyc lab label labeled labels labs lambda landing landmark landmarks lane
lanes language languages large last lat latest launch launches launchpad law laws lawyers layers layouts ldap lead leader
leaderboard leaders leads league leagues learn lease leases leave leaves ledger legacy legal lender lenders length lenses
lesson lessons letter letters level levels leverage liabilities liability lib libraries library libs lifecycle lifecycles
lifetime lift light lighting lightning lights like likes limit limits line lines link linkage linked liquidations liquidity
list listen listener listeners listing listings literals litigation live lng load loader loads loan loans lobby local locales
localization localizations localize localized locate locker lockers locking lockout logger loggers logging logic logins
logistics logo logos longest loops lost lot lots lottery low loyalty luggage machine machines macro macros magazine mail
mailbox mailboxes mailer mailing mailinglists mailings main maintenance maker makers malware manage managed management manager
managers mandate mandates manifest manual manuals manufacturers map maps margin margins mark markdown marker markers market
marketing marketplace marketplaces markets markup mass master masters match matches matching matchups materials matrices
matrix maturity maximum me meal meals mean measure measurement measurements measures mechanisms medal medals media mediafiles
mediation medical medication medications medicine medicines medium meet meeting meetings member memo memories memory memos
mention mentions mentors menu menus merchandise merchandising merchants merge merged merges mesh message messaging messenger
meta metafields metal metals meter metering meters method methodology metric mfa mgmt mgr microservices middleware migrate
migration migrations miles milestone military miners minimum mining mint minted minutes mirror mirrors misc mission missions
mitigation mitigations mix mobile mock mocks mode model moderate moderation moderator moderators modification modifications
modifier modifiers modify module modules molecules moment moments money monitor monitoring monitors month monthly mortgage
mortgages most motion motions motor mount mounts move movement movements movers movie movies msg msgs multi multimedia
municipalities museum museums music mutation mutations mute mutual my named namespace narratives nation national nations
native nav navbar navigation near nearby needs net network new news newsletter newsletters next nfc nft nfts node nodepools
nodes nominate nominations nonce norm normal normalize notarize note notebook notebooks notice notices notif notifier notify
null num nutrition obj objects obligation obligations observation observations observer occupancy occupation occupations
occurrence occurrences odds of offer offering offerings offers office offices offline offset oidc on onboard onboarding
ongoing only ontology open openapi opened openid opening operate operation operations operator operators opinions
opportunities opportunity opt optimization optimizations optimize optin option options optout oracle orderbook orderbooks
ordered ordering organisation organisations organizational organizationunits organizer organizers origin original originate
origins other otp out outage outages outbox outcome outcomes outgoing outlet outlets outlook output outputs outstanding
overdue overlay overlays override overview owner owners ownership pack packages packaging packets packs page pages paging paid
pair pairs pallets panel panels papers paragraph parallel parameter parameters parcel parcels parents park parking parks parse
part partial participant participants participation particles partition partitions partner partners parts pass passenger
passengers passes passkey passkeys passport passports passwords past patch patches patent patents path paths patient patients
patrons pattern patterns pause pay payable payables paycheck payee payees payer payers payload payloads payments payouts
payroll payrolls pci peak peer peers penalties penalty people percent percentile percentiles perf performance performances
performers period periodic periods permanent permission permit permits perms perpetual persist person persona personal
personalization personalize personas personnel persons pet petition pets pharmacies pharmacy phase phases photo photos phrase
phrases physical picking picks pickup picture pictures pilot pin ping pins pipe pipeline pipelines pitch pixel pixels place
placement placements places plain plan planned planner planning plant plants platforms play playback player players playground
playlist playlists plot plots plugin plugins podcast podcasts poi point pointer points poke policies policy polling polls
pollution pool pools popular population populations port portability portals portfolio portfolios ports pos positions
possession post postal postback postcode postcodes poster posters posting postings posts potential power powers ppt practice
practices practitioner practitioners precipitation predicate predict prediction predictions predictive preference prefs
premium premiums prep prepaid preparation prepare prescription prescriptions presence present presentation presentations
preset presets press pressure prev prevent preview previews previous price pricelist pricelists prices pricing primary
primitives principal principals print printer printers prior priorities privacy private privilege privileges prize prizes
probe probes problem problems procedure procedures proceed processes processing processor processors procurement producer
producers product production productions productivity products profession professions professor proficiency profiler profit
prognosis program programme programmes programs progress progression projection projections promote promotions prompt prompts
proof proofs propagate properties property proposal proposals prospect prospects protect protected protection protocol
protocols prototype provenance provider providers province provinces provision provisioning proxies proximity proxy pubkeys
publication publications publicity publish published publisher publishers publishing pull purchase purchases purge purpose
purposes push pwd qos qualification qualifications qualifiers quality quantities quantity quarantine quarter quarterly
quarters queries query quest question quests quick quiz quota quotas quotation quotations quote quotes race races radar radio
radios railway rain raise range ranges rank ranked ranking rankings ranks rate rater rates rating ratings ratio ratios raws
rcs rdf reach reaction reactions reactivate reader readers readiness reading readings readme readonly ready realm realms
realtime reason reasons reassign rebalance reboot rebuild recall recalls receipt receipts receive received receiver receivers
recent reception recipe recipes recipient recipients reclaim recognition recognize recommend recommendation recommendations
reconcile reconciliation reconciliations reconnect reconstruct record recording recoveries recovery recruiters recruitment
rectangles recurrence recurring redeem redemption redemptions redirect redirection redirects reduce referee referees reference
references referential referral referrals referrers refill refine refresh refreshed refund refunds refused region regional
regions registered registers registrants registrar registrars registries registry regression regular regulation regulations
rehearsal reimburse reimbursements reindex reject rejected rejection rejections relate related relations relationship
relationships relative relay relays release releases relevance relevant reliability reload reloads remaining remap remarks
remediate remediation remediations remind reminder reminders remittance remittances remote removal removals remove rename
render rendering renew renewal renewals rent rental rentals rents reopen reorder repair repairs repayment repayments repeat
replace replacement replacements replay replays replica replicas replicate replication reply reporter reporters reports repos
repositories represent representation representations representatives reproduction reputation requester requirement
requirements reroute reschedule research researchers reseller resellers resend reservation reservations reserve reset
residence resident residents residual resize resolution resolutions resolve resolved resolver resolvers resource resources
respond responder responders response responses responsibilities responsibility responsible rest restart restaurant
restaurants restoration restore restrict restricted restriction restrictions resubmit result results resume resumes retail
retailer retailers retain retention retire retirement retrain retries retrieval retrieve retry return returned returns
revalidate reveal revenue reversal reversals reverse revert review reviews revise revision revocation revoke revoked reward
rewards rewind rework rewrite ride rider riders rides right rights ring ringtone risk risks rivers roadmap roaming robot
robots role rollback rollout rollouts rollup rollups rooms root roster rosters rotate rotation rotations round rounds route
router routers routes routine routines routing rows royalties royalty rpc rss rule ruling runner running runs runtime runtimes
safe safes safety salaries salary sale sales saml sample samples sanction sanctions sandbox sandboxes satellite satellites
satisfaction save saving savings scale scales scaling scan scanner scanners scans scenario scenarios scene scenes scheduler
schedulers scheduling schedulings schema schemas scheme schemes scholar scholarships school schools science scim scooters
scope scopes score scoreboard scorecard scorecards scored scores scoring scrape scraper scrapers screen screening screenings
screens script scripts scroll sdk seal search searches season seasons seat seatmap seatmaps seats sec secondary seconds secret
section sections sectors seed seeds segment segmentation segmentations segments seismic select selection selections selector
selectors self seller sellers selling semantic send sensor sensors sent sentence sentences sentiment sequence sequences serial
serializers serials series serve served serverless servers servicing serving session set setpoint settle settlements setups
severity shadow shape shard shards shared shares sharing shift shifts shipments shipped shipper shippers shipping shop
shopping shops short shortcut shortcuts shorten shortlist shorts show showcase showings showtime showtimes shuffle shutdown
sicknesses sidebar sig sign signal signals signature signatures signed signer signers signin signout signup silence silences
sim similarities similarity simulate simulation simulations simulator single singles sip site sitelinks sitemap sitemaps
situation situations size sizes sketch skill skills skin skins skip sku skus sla slas slash sleep slice slices slide slider
sliders slideshow slot slots slug slugs small smart smtp snapshots snippet snippets soccer social society soft software solar
solution solutions solver song songs sort sound sounds source sources spaces spark sparkline speaker speakers spec special
specialist specialists speciality specials specialties specialty specification specifications specimen specimens specs speech
speed spells spend spending spin split splits sponsor sponsored sponsors sponsorships sport sports spot spotlight spots spread
spreads spreadsheet spreadsheets sprint sprints sql srv sse sso stack stacks staff stage stages stake staking stamp stamps
stand standard standards standby standings start started starter starts startups stash stat stateful stateless statement
statements states static statics station stations statistic statistics stats stay stays std step steps sticker stickers sticky
stock stocks stop stopped stops storage store storefront storefronts stores stories story stowage str strategies strategy
stream streams street streets strength stress stretch strike string strings structure structures student students studies
studio studios study style styles stylesheet stylesheets sub subaccount subaccounts subdivision subdivisions subdomain
subdomains subject subjects submission submissions submit submitted subnet subnets subscribe subscriber subscribers subset
subsidiaries substances substitute substitutions subtitle subtitles subtotal suburb success successful suggest sum summaries
summarize summary superuser supervise supervisor supervisors supplier suppliers supplies supply support supported suppress
suppression suppressions surcharge surcharges surface surrender survey surveys suspend suspension suspensions sustainability
svc svg swagger swap swaps switch switches symbol symbols symptom symptoms sync synchronization synchronize synchronous syncs
synonym synonyms syntax synthesis synthesize synthetic sys system systemic systems tab table tables tabs tactic tactics tag
tagged tagging takedown takedowns takeover talent talents talk talks tank tanks tape target targeting targets tariff tariffs
tax taxation taxes taxi taxon taxonomic taxonomies taxonomy tcp teacher teachers teaser teasers technical technician
technicians technique techniques technologies technology telecom telemetry telephone telephony television temperature
temperatures temporal temporary tenancies tenancy tenant tenants tender tenders tensor terminal terminals terminate
termination terminology terms terrain territories territory test testcase testcases testimonials testing tests testset text
texture textures theaters theatre theme themes thermostat thermostats thesaurus threads threat threats threshold thresholds
throttle throttling thumb thumbnails thumbs tick ticker tickers ticket tickets ticks tide tides tier tiers tile tiles time
timecards timeframe timeframes timeline timelines timer timers times timeseries timesheet timesheets timestamp timestamps
timetable timetables timezone timezones tip tips title titles tls to today toggle toggles token tokenise tokenization tokenize
toll tool tools tooltip top topic topics topologies topology torrent torrents totals totp tour tournament tournaments tours
tower towers town towns trace traces tracing track tracker trackers tracks trade trader traders trades trading traffic trail
trailer trailers train trainer trainers training trains trait traits trajectories trajectory transaction transcode transcribe
transcript transcription transcriptions transcripts transfers transform transformation transformations transit transitions
translate translation translations translator transmission transmissions transmit transparency transport transports trap traps
trash travel traveler travelers traveller treatment treatments trees trend trending trends trial trials trigger triggers trip
trips troubleshoot truck trucks trunk trunks trust trusted trusts try ttl tts tuition tunnel tunnels turn tutor tutorial
tutorials tutors tv tweet tweets twin twins tx txs type typeahead typical typing udp ui uid unarchive unassign unassigned
unauthorize unavailable unban unbind unblock uncertainty unconfirmed undelete undeploy undo unenroll unfavorite unfeature
unfollow unfreeze unhide unified uninstall unique unit units universe universities university unknown unlike unlink unlist
unlock unmapped unmark unmatch unmute unpaid unpause unpin unpublish unread unregister unreject unresolve unrestrict unseen
unset unspent unstake unstar unsubscribe unsuspend unused unverified unwatch unwind up upcoming update updated updater upgrade
upgrades upload uploaded upstream upstreams uptime urgent uri uris url urls usage usages use used user userinfo username
usernames users utf util utilities utility utilization utils utxo utxos vacancies vacancy vacation vacations vaccinations
vaccine vaccines valid validate validated validation validations validator validators validity valuation valuations value
values variable variables variance variant variants variation variations vat vault vcs vector vectors vehicle vehicles
velocity vendor vendors ventures venue venues verdict verdicts verification verifications verified verifier verifiers verify
version versioned vessel vessels veto vice victims victories video videos view viewer viewers viewport views vip virtual
virtualmachines virus visibility visible visit visitor visitors visits visual visualization visualizations visualize vitals
vlan vlans vms vocabularies vocabulary voice voicemail voicemails void volume volumes volunteer volunteers vote voter voters
votes voting vouchers voyage voyages vpc vpcs vpn vpns vrf vulnerabilities vulnerability waf wagers wages wait waiting
waitlist wallet wallets wallpaper wallpapers walls wan war warehouse warehouses warn warning warnings warranties warrants
warranty wars waste watch watched watcher watchers watchlist water watermark watermarks wave waypoints wealth weapon weapons
weather webcam webcams webhook webinar webinars website websites websocket week weekend weekly weeks weight weights welcome
whoami whois widgets wifi wiki wikis wildcard wind window windows winner winners wire wires wishes wishlist wishlists with
withdraw withdrawal withdrawals without witness witnesses wizard word wordlist words worker workers workflow workflows
workgroup workgroups working workitems workload workloads worklog worklogs workorder workorders workout workouts workplace
workplaces works worksheet worksheets workshop workshops workspace workspaces world worlds wrap write writer writers xhr xls
xlsx xsd xsl yaml year yearly years yield yields zip zipcode zipcodes zones zoom
"""
"""What anybody who has seen a few APIs would list."""
SEEN = """
access account accounts ack actions activate activities activity add addresses admins advanced ai alerts aliases analyses
answer api append application applications approval apps articles artifacts assignment associated attachment attachments audio
audit auth authorization auto available background backgrounds balances base batch billing blobs blocks boards bounce bounces
branches broadcast buckets build builds bulk cache call callback card categories category change changes changeset channels
chart check checks client clients code codes collections comments config configuration configurations contacts content
contributors countries coverage creator credential credentials credit csv currency current custom dashboard data datasets
deliveries deployment deployments diff display dns documents domains downloads email emails emoji environments erc event
events example export factor failed featured field fields files filtered for full game generate genres git google group groups
hard head hw id image instances invalidate invite invited invites ip ips issues item items job join json key keys leaderboards
led lfs license licenses links lists location locations lock log login logout logs long lookup mapping members memberships
merchant messages metadata methods metrics milestones missing models multiple name names namespaces nearest networks notes
notification notifications number numbers oauth object one order orders org organizations orgs outbound overrides pac parent
party password payment pdf pending permissions phone phones plans platform poll portal position pre preferences prefix profile
profiles project projects public qr questions queue queues random raw read recordings records recover ref regenerate register
registration registrations replies report reporting repository request requests required rerequest revisions roles room rules
runners saved schedule scheduled schedules screenshot secrets security selected sends service services sessions setting
settings setup share shipment signing similar sites sms snapshot socket ssh star starred state status statuses subscription
subscriptions suggested suggestions tags task tasks team teams template templates thumbnail tokens total tracking transactions
transfer tree two types unsubscribes updates uploads uuid versions webhooks whitelist wireless xml zone
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
