"""Workloads by address, agents, and the humans behind them."""

from __future__ import annotations

import base64
import ipaddress
import json
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from eastwall.discovery.agents import from_headers
from eastwall.discovery.identity import Trust, TrustError, compile_trust, resolve
from eastwall.discovery.name_globs import GlobTable
from eastwall.discovery.workloads import Workloads, workload_name
from eastwall.model.call import Call, Peer, Request
from eastwall.model.identity import Identity, Principal, Strength
from eastwall.model.snapshot import TrustConfig, Workload

KEY = b"k" * 32
NOW = 1_777_888_800.0
SIGNER = ECKey.generate_key("P-256", {"kid": "ec"})
JWKS = (("", json.dumps({"keys": [SIGNER.as_dict(private=False)]}).encode()),)
PODS = (
    Workload("10.1.2.3", "web/front", "front"),
    Workload("10.1.2.9", "web/default", "cart"),
    Workload("10.1.2.10", "web/default", "mailer"),
    Workload("10.1.3.0/24", "batch/reports", "reports"),
    Workload("10.0.0.4", "ingress/gateway", "gateway"),
    Workload("fd00::7", "web/front", "front"),
    Workload("10.1.9.9", "a/old", since=NOW - 1000),
    Workload("10.1.9.9", "b/new", since=NOW - 10),
)
TRUST = compile_trust(TrustConfig(jwks=JWKS, workloads=PODS, trusted_proxies=("10.0.0.0/24",)), KEY)


def who(peer: Peer | str = "192.0.2.7", *, trust: Trust = TRUST, time: float = NOW, **headers: str) -> Identity:
    peer = Peer(peer) if isinstance(peer, str) else peer
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    call = Call("1", "shop", time, peer, Request("GET", "/", fields))
    identity = resolve(call, trust)
    assert resolve(call, trust) == identity, "a remembered answer differs from the first"
    return identity


def bearer(**claims: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return "Bearer " + jwt.encode({"alg": "ES256", "kid": "ec"}, claims, SIGNER, algorithms=["ES256"])


def spiffe(name: str, address: str = "192.0.2.7") -> Peer:
    return Peer(address, tls=True, uri_sans=(f"spiffe://shop/{name}",))


# -- by address -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.1.2.3", "web/front"),
        ("::ffff:10.1.2.3", "web/front"),
        ("10.1.3.200", "batch/reports"),
        ("fd00::7", "web/front"),
        ("fd00:0:0::0007", "web/front"),
    ],
)
def test_a_pod_is_known_by_its_address(address: str, name: str) -> None:
    identity = who(address)
    assert (identity.actor, identity.kind, identity.strength) == (f"workload:{name}", "workload", Strength.ASSERTED)
    assert (identity.cls, identity.workload) == (f"workload:{name}", name)
    assert identity.chain == (Principal("workload", name, Strength.ASSERTED), Principal("address", address, Strength.NONE))


def test_other_addresses_stay_addresses() -> None:
    for address in ("10.1.2.4", "10.1.4.1", "fd00::8", "", "unix", "@"):
        assert (who(address).kind, who(address).workload) == ("address", "")


def test_a_service_account_that_all_share_is_told_apart_by_owner() -> None:
    cart, mailer = who("10.1.2.9"), who("10.1.2.10")
    assert (cart.cls, mailer.cls) == ("workload:web/default/cart", "workload:web/default/mailer")
    assert cart.actor == mailer.actor == "workload:web/default"


def test_an_address_that_was_given_to_another() -> None:
    times = [NOW, NOW - 11, NOW - 10, NOW - 1000, NOW - 1001, NOW - 11, NOW + 1e6]
    actors = ["b/new", "a/old", "b/new", "a/old", None, "a/old", "b/new"]
    for time, actor in zip(times, actors, strict=True):
        assert who("10.1.9.9", time=time).actor == (f"workload:{actor}" if actor else "address:10.1.9.9")


def test_the_longest_prefix_wins_and_before_its_time_the_next() -> None:
    workloads = Workloads(
        [Workload("10.0.0.0/8", "a"), Workload("10.1.0.0/16", "b"), Workload("10.1.1.1", "c", since=50.0), Workload("::/0", "d")]
    )
    assert workloads.find("10.1.1.1", 60) == (Workload("10.1.1.1", "c", since=50.0), 50.0, float("inf"))
    found, begin, end = workloads.find("10.1.1.1", 40)
    assert (found and found.name, begin <= 40 < end, end) == ("b", True, 50.0)
    assert [found.name if (found := workloads.find(a, 0)[0]) else "" for a in ("10.2.0.1", "11.0.0.1", "::1")] == ["a", "", "d"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**32 - 1).map(lambda number: number & 0x0A0103FF | 0x0A000000),
            st.integers(0, 32),
            st.sampled_from([0.0, 5.0, 10.0]),
            st.booleans(),
        ),
        max_size=12,
    ),
    st.integers(0, 2**32 - 1).map(lambda number: number & 0x0A0103FF | 0x0A000000),
    st.sampled_from([0.0, 4.0, 5.0, 7.0, 10.0, 12.0]),
)
def test_the_look_up_agrees_with_a_search_through_all(
    entries: list[tuple[int, int, float, bool]], address: int, time: float
) -> None:
    """And what it says holds for as long as it says."""
    workloads = []
    for number, (network, length, since, mapped) in enumerate(entries):
        text = f"{ipaddress.ip_address(network)}/{length}"
        if mapped:
            text = f"::ffff:{ipaddress.ip_address(network)}/{length + 96}"
        workloads.append(Workload(text, f"w{number}", since=since))

    def search(at: float) -> tuple[int, float] | None:
        fits = [
            (length, since)
            for network, length, since, _ in entries
            if since <= at and ipaddress.ip_address(address) in ipaddress.ip_network((network, length), strict=False)
        ]
        return max(fits, default=None)

    table = Workloads(workloads)
    found, begin, end = table.find(str(ipaddress.ip_address(address)), time)
    expected = search(time)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        length = int(found.address.partition("/")[2]) - (96 if ":" in found.address else 0)
        assert (length, found.since) == expected
    assert begin <= time < end
    for other in (0.0, 4.0, 5.0, 7.0, 10.0, 12.0):
        if begin <= other < end:
            assert search(other) == expected


def test_a_certificate_wins_over_the_address() -> None:
    agree = who(spiffe("ns/web/sa/front", "10.1.2.3"))
    assert (agree.actor, agree.cls, agree.faults) == ("workload:spiffe://shop/ns/web/sa/front", "workload:web/front", ())
    assert [p.strength for p in agree.chain] == [Strength.VERIFIED, Strength.ASSERTED, Strength.NONE]
    other = who(spiffe("ns/web/sa/admin", "10.1.2.3"))
    assert (other.actor, other.cls, other.faults) == (
        "workload:spiffe://shop/ns/web/sa/admin",
        "workload:web/admin",
        ("workload-mismatch",),
    )
    assert Principal("workload", "web/front", Strength.GUESSED) in other.chain, "an address that is contradicted opens no door"


@pytest.mark.parametrize(
    ("dns", "address", "faults"),
    [
        ("front-7d9f8b6c5-x2x4z.web.svc.cluster.local", "10.1.2.3", ()),
        ("front.billing.svc", "10.1.2.3", ("workload-mismatch",)),
        ("front.shop.example", "10.1.2.3", ()),  # says nothing about the cluster
        ("front.billing.svc", "10.1.2.4", ()),  # an address of nobody
    ],
)
def test_what_a_host_name_can_contradict(dns: str, address: str, faults: tuple[str, ...]) -> None:
    assert who(Peer(address, dns_sans=(dns,))).faults == faults


def test_a_pod_behind_a_trusted_proxy_and_one_behind_another() -> None:
    behind = who("10.0.0.4", x_forwarded_for="10.1.2.3")
    assert (behind.actor, behind.workload) == ("workload:web/front", "web/front")
    assert Principal("workload", "ingress/gateway", Strength.ASSERTED) in behind.chain
    forged = who("10.1.2.9", x_forwarded_for="10.1.2.3")
    assert forged.actor == "workload:web/default"


MESH = compile_trust(
    TrustConfig(
        jwks=JWKS,
        workloads=PODS,
        trusted_proxies=("127.0.0.1/32", "10.0.0.0/24", "spiffe://shop/ns/ingress/sa/gateway"),
        certificate_header="X-Forwarded-Client-Cert",
    ),
    KEY,
)


@pytest.mark.parametrize(
    ("header", "actor"),
    [
        ("By=spiffe://shop/ns/o/sa/o;Hash=ab12;URI=spiffe://shop/ns/web/sa/front", "workload:spiffe://shop/ns/web/sa/front"),
        ('Hash=ab;Subject="CN=batch,O=Shop \\"A\\", Inc";URI=;DNS=batch.jobs.svc;DNS=b2', "workload:batch.jobs.svc"),
        ('Subject="CN=batch,O=Shop";URI=', "workload:CN=batch,O=Shop"),
        # What stands further left, whoever sent it may have written; what a trusted proxy is, it is not the caller.
        ("URI=spiffe://shop/ns/x/sa/admin,URI=spiffe://shop/ns/web/sa/front", "workload:spiffe://shop/ns/web/sa/front"),
        ("URI=spiffe://shop/ns/web/sa/front,URI=spiffe://shop/ns/ingress/sa/gateway", "workload:spiffe://shop/ns/web/sa/front"),
        ("Hash=ab", "address:127.0.0.1"),
        ("", "address:127.0.0.1"),
        ('URI="spiffe://', "address:127.0.0.1"),
        (",;,;=" * 5000, "address:127.0.0.1"),
    ],
)
def test_certificates_that_a_sidecar_saw(header: str, actor: str) -> None:
    identity = who("127.0.0.1", x_forwarded_client_cert=header, trust=MESH)
    assert identity.actor == actor
    if identity.kind == "workload":
        assert identity.strength is Strength.ASSERTED


def test_forwarded_certificates_of_strangers_are_nothing() -> None:
    identity = who(x_forwarded_client_cert="URI=spiffe://shop/ns/web/sa/admin", trust=MESH)
    assert (identity.actor, identity.workload) == ("address:192.0.2.7", "")
    # A proxy that is trusted with addresses may know nothing of this header and hand on what a caller wrote.
    assert who("10.0.0.9", x_forwarded_client_cert="URI=spiffe://shop/ns/web/sa/admin").actor == "address:10.0.0.9"


def test_a_forwarded_certificate_beside_a_forwarded_address() -> None:
    cert = "URI=spiffe://shop/ns/web/sa/front"
    agree = who("10.0.0.4", x_forwarded_client_cert=cert, x_forwarded_for="10.1.2.3", trust=MESH)
    assert (agree.actor, agree.workload, agree.faults) == ("workload:spiffe://shop/ns/web/sa/front", "web/front", ())
    other = who("10.0.0.4", x_forwarded_client_cert=cert, x_forwarded_for="10.1.2.9", trust=MESH)
    assert (other.workload, other.faults) == ("web/front", ("workload-mismatch",))
    through = who(spiffe("ns/ingress/sa/gateway"), x_forwarded_client_cert=cert, trust=MESH)
    assert (through.actor, through.cls) == ("workload:spiffe://shop/ns/web/sa/front", "workload:web/front")


def test_a_certificate_without_alternative_names_is_known_by_its_subject() -> None:
    identity = who(Peer("192.0.2.7", tls=True, subject="CN=batch-7,O=Shop"))
    assert (identity.actor, identity.cls, identity.strength) == (
        "workload:CN=batch-7,O=Shop",
        "workload:batch",
        Strength.VERIFIED,
    )
    assert who(Peer("192.0.2.7", tls=True, subject="CN=front.web.svc")).actor != identity.actor


def test_a_gateway_is_not_whoever_calls_through_it() -> None:
    """Strangers on the internet are not the ingress gateway, however well the gateway proves who it is."""
    for peer in (Peer("10.0.0.4"), spiffe("ns/ingress/sa/gateway", "10.0.0.4")):
        through = who(peer, x_forwarded_for="203.0.113.5")
        assert (through.actor, through.cls, through.strength) == ("address:203.0.113.5", "anonymous", Strength.NONE)
        assert through.workload == "ingress/gateway"
        alone = who(peer)
        assert alone.kind == "workload"


def test_a_workload_that_carries_a_human() -> None:
    identity = who("10.1.2.3", authorization=bearer(sub="alice", roles=["staff"]))
    assert (identity.actor, identity.human, identity.workload) == ("user:alice", "user:alice", "web/front")
    assert identity.cls == "user+staff"
    assert [f"{p.kind}:{p.name}" for p in identity.chain] == ["user:alice", "workload:web/front", "address:10.1.2.3"]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (Workload("10.0.0.300", "web/front"), "workload `web/front`: `10.0.0.300` is neither an address nor an address range"),
        (Workload("", "w\x1b[2J"), "workload `w?[2J`: `` is neither"),
    ],
)
def test_a_bad_address_is_one_clear_line(config: Workload, said: str) -> None:
    with pytest.raises(TrustError) as caught:
        compile_trust(TrustConfig(workloads=(config,)), KEY)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


# -- tokens of workloads ----------------------------------------------------------------------------------------------


def test_tokens_of_service_accounts_and_spiffe_ids_are_workloads() -> None:
    account = who(authorization=bearer(sub="system:serviceaccount:web:front", **{"kubernetes.io": {"namespace": "web"}}))
    assert (account.actor, account.cls, account.strength) == ("workload:web/front", "workload:web/front", Strength.VERIFIED)
    svid = who(authorization=bearer(sub="spiffe://shop/ns/web/sa/front"))
    assert (svid.actor, svid.cls) == ("workload:spiffe://shop/ns/web/sa/front", "workload:web/front")
    assert who(authorization=bearer(sub="system:serviceaccount:web")).kind == "user"


def test_who_says_that_it_is_a_workload_is_not_in_its_class() -> None:
    unverified = compile_trust(TrustConfig(), KEY)
    identity = who(authorization=bearer(sub="system:serviceaccount:web:admin"), trust=unverified)
    assert (identity.cls, identity.strength, identity.workload) == ("workload", Strength.GUESSED, "")


def test_tokens_in_other_headers() -> None:
    config = TrustConfig(jwks=JWKS, token_headers=("X-Amzn-Oidc-Data", "cf-access-jwt-assertion"))
    trust = compile_trust(config, KEY)
    token = bearer(sub="alice", roles=["a"], tenant="t1").removeprefix("Bearer ")
    assert who(x_amzn_oidc_data=token, trust=trust).actor == "user:alice"
    assert who(x_amzn_oidc_data="Bearer " + token, trust=trust).strength is Strength.VERIFIED
    assert who(x_amzn_oidc_data=token).kind == "address", "only where it is configured"
    both = who(authorization=bearer(sub="bob", roles=["b"], exp=NOW - 99), x_amzn_oidc_data=token, trust=trust)
    assert (both.actor, both.roles, both.tenant, both.faults) == ("user:alice", ("a",), "t1", ("jwt-expired",))
    assert both.claims["sub"] == "alice"
    # The parts that an Amazon load balancer sends are padded, and so signed.
    head, body, _ = token.split(".")
    padded = f"{head}{'=' * (-len(head) % 4)}.{body}{'=' * (-len(body) % 4)}"
    signature = JWSRegistry.algorithms["ES256"].sign(padded.encode(), SIGNER)  # type: ignore[attr-defined]
    whole = f"{padded}.{base64.urlsafe_b64encode(signature).decode()}"
    assert "=" in whole
    assert who(x_amzn_oidc_data=whole, trust=trust).strength is Strength.VERIFIED
    assert who(authorization=f"Bearer {whole}", trust=trust).faults == ("jwt-malformed",)


def test_one_token_that_fails_leaves_the_other_as_it_is() -> None:
    trust = compile_trust(TrustConfig(jwks=JWKS, token_headers=("x-user-token",)), KEY)
    identity = who(authorization="Bearer a.b.c", x_user_token=bearer(sub="alice").removeprefix("Bearer "), trust=trust)
    assert (identity.actor, identity.strength, identity.faults) == ("user:alice", Strength.VERIFIED, ("jwt-malformed",))


def test_nobody_gets_the_roles_of_a_token_that_is_not_the_callers() -> None:
    """A token that ran out, or that nobody could check, beside a better proof of somebody else."""
    expired = bearer(sub="root", roles=["admin"], scope="all", tenant="t9", exp=NOW - 99)
    forwarded = who("10.0.0.4", authorization=expired, x_forwarded_user="carol")
    assert (forwarded.actor, forwarded.strength) == ("user:carol", Strength.ASSERTED)
    assert (forwarded.roles, forwarded.scopes, forwarded.tenant, forwarded.claims, forwarded.cls) == ((), (), "", {}, "user")
    trust = compile_trust(TrustConfig(jwks=JWKS, token_headers=("x-user-token",)), KEY)
    job = bearer(azp="job", roles=["admin"])
    both = who(authorization=job, x_user_token=bearer(sub="alice", roles=["staff"]), trust=trust)
    assert (both.actor, both.roles, both.claims["sub"]) == ("user:alice", ("staff",), "alice")


def test_what_holds_ends_with_the_first_token() -> None:
    trust = compile_trust(TrustConfig(jwks=JWKS, token_headers=("x-user-token",)), KEY)
    first = bearer(sub="alice", exp=NOW + 100)
    second = bearer(sub="bob", exp=NOW + 50).removeprefix("Bearer ")
    faults = [who(authorization=first, x_user_token=second, trust=trust, time=NOW + at).faults for at in (0, 60, 200, 0)]
    assert faults == [(), ("jwt-expired",), ("jwt-expired",), ()]


# -- agents and humans ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "actor", "agent", "human"),
    [
        # RFC 8693: an actor that nothing calls an agent is a client.
        ({"sub": "alice", "act": {"sub": "svc-7"}}, "user:alice", "", "user:alice"),
        # OAuth Actor Profile, OAuth Entity Profiles.
        ({"sub": "alice", "act": {"sub": "travel", "sub_profile": "ai_agent"}}, "user:alice", "agent:travel", "user:alice"),
        (
            {
                "sub": "alice",
                "act": {"sub": "tool", "sub_profile": "ai_agent", "act": {"sub": "planner", "sub_profile": "ai_agent"}},
            },
            "user:alice",
            "agent:tool",
            "user:alice",
        ),
        ({"sub": "helper", "sub_profile": "ai_agent", "client_id": "helper"}, "agent:helper", "agent:helper", ""),
        ({"sub": "alice", "azp": "bot", "client_profile": "web_app ai_agent"}, "user:alice", "agent:bot", "user:alice"),
        ({"sub": "job", "sub_profile": "service"}, "client:job", "", ""),
        # Microsoft Entra Agent ID: on its own, for a human, with a user account of the agent's own.
        (
            {"sub": "oid", "appid": "app", "idtyp": "app", "xms_act_fct": "3 9 11", "xms_sub_fct": "9 3 11"},
            "agent:oid",
            "agent:oid",
            "",
        ),
        ({"sub": "alice", "azp": "app", "xms_act_fct": "11 3", "idtyp": "user"}, "user:alice", "agent:app", "user:alice"),
        ({"sub": "bot-user", "azp": "app", "xms_act_fct": "11", "xms_sub_fct": "13 3"}, "agent:bot-user", "agent:bot-user", ""),
        # OIDC-A, and claims of one's own.
        ({"sub": "a-1", "agent_type": "assistant", "delegator_sub": "alice"}, "user:alice", "agent:a-1", "user:alice"),
        ({"sub": "alice", "agent_id": "support-7"}, "user:alice", "agent:support-7", "user:alice"),
        ({"sub": "alice", "agent": {"id": "support-7"}}, "user:alice", "agent:support-7", "user:alice"),
        # Machines are nobody's human.
        ({"sub": "abc@clients", "azp": "abc"}, "client:abc", "", ""),
        ({"sub": "job-9", "gty": "client-credentials"}, "client:job-9", "", ""),
        ({"sub": "oid", "appid": "app", "idtyp": "app"}, "client:app", "", ""),
        ({"sub": "alice", "azp": "web"}, "user:alice", "", "user:alice"),
        # A workload for an agent for a human.
        (
            {"sub": "alice", "act": {"sub": "bot", "sub_profile": "ai_agent", "act": {"sub": "system:serviceaccount:ai:runner"}}},
            "user:alice",
            "agent:bot",
            "user:alice",
        ),
    ],
)
def test_agents_and_humans_in_tokens(claims: dict[str, Any], actor: str, agent: str, human: str) -> None:
    identity = who(authorization=bearer(**claims))
    assert (identity.actor, identity.agent, identity.human) == (actor, agent, human)
    assert identity.strength is Strength.VERIFIED
    known = {f"{p.kind}:{p.name}" for p in identity.chain}
    assert {actor, agent, human} - {""} <= known


def test_agents_by_configuration() -> None:
    config = TrustConfig(jwks=JWKS, workloads=PODS, agents=("client:support-*", "workload:web/front", "user:bot-*"))
    trust = compile_trust(config, KEY)
    by_client = who(authorization=bearer(sub="alice", azp="support-bot"), trust=trust)
    assert (by_client.actor, by_client.agent, by_client.human) == ("user:alice", "client:support-bot", "user:alice")
    assert who(authorization=bearer(sub="alice", act={"sub": "support-7"}), trust=trust).agent == "client:support-7"
    by_address = who("10.1.2.3", trust=trust)
    assert (by_address.actor, by_address.agent, by_address.human) == ("workload:web/front", "workload:web/front", "")
    account = who(authorization=bearer(sub="bot-3"), trust=trust)
    assert (account.agent, account.human) == ("user:bot-3", "")
    assert who(authorization=bearer(sub="alice", azp="web"), trust=trust).agent == ""


BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36"


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        ("claude-code/2.1.204 (cli)", "claude-code"),
        ("1MCP-Proxy/0.29.0-beta1 cursor/0.28.3", "cursor"),
        (
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; ChatGPT-User/1.0; +https://openai.com/bot",
            "chatgpt-user",
        ),
        ("Mozilla/5.0 (compatible; Claude-User/1.0; +Claude-User@anthropic.com)", "claude-user"),
        ("langchain", "langchain"),
        ("openai-mcp/1.0.0", "openai-mcp"),
        (BROWSER, ""),
        ("python-requests/2.32", ""),
        ("node", ""),
        ("Mozilla/5.0 (compatible; GPTBot/1.2)", ""),  # gathers training data, acts for nobody
        ("my-cursor-thing/1", ""),
        ("zedcloud/1", ""),
        ("", ""),
        ("x" * 10_000 + " claude-code/2", ""),
    ],
)
def test_agents_by_user_agent(user_agent: str, name: str) -> None:
    identity = who(user_agent=user_agent)
    assert identity.agent == (f"agent:{name}" if name else "")
    assert (identity.actor, identity.cls, identity.strength) == ("address:192.0.2.7", "anonymous", Strength.NONE)
    if name:
        assert Principal("agent", name, Strength.GUESSED) in identity.chain


def test_mcp_clients() -> None:
    assert who(mcp_protocol_version="2025-06-18").agent == "agent:mcp"
    assert who(mcp_session_id="1868a90c").agent == "agent:mcp"
    assert who(mcp_session_id="1868a90c", user_agent="claude-code/2.1").agent == "agent:claude-code"
    known = who(mcp_session_id="1868a90c", authorization=bearer(sub="alice", azp="desktop"))
    assert (known.agent, known.human, known.actor) == ("client:desktop", "user:alice", "user:alice")
    for number in range(100):
        who(mcp_session_id=f"session-{number}", trust=(trust := TRUST))
    assert sum("mcp" in identity.agent for identity, _, _ in trust.known._young.values()) < 10, "each session is remembered anew"


def test_signed_agents_are_guesses_while_nobody_checks_the_signature() -> None:
    identity = who(signature_agent='"https://chatgpt.com"', user_agent=BROWSER)
    assert (identity.agent, identity.actor) == ("agent:chatgpt.com", "address:192.0.2.7")
    for bad in ("", "chatgpt.com", '"http://chatgpt.com"', '"https://x y"', "https://" + "a" * 500, '"https://e\x1b[2J"'):
        assert from_headers(None, bad, mcp=False) == ""


def test_what_headers_suggest_is_never_the_actor_and_never_stronger_than_a_claim() -> None:
    identity = who(authorization=bearer(sub="alice", agent_id="support-7"), user_agent="claude-code/2.1")
    assert identity.agent == "agent:support-7"
    keyed = who(x_api_key="secret", user_agent="claude-code/2.1")
    assert (keyed.kind, keyed.agent, keyed.human) == ("key", "agent:claude-code", "")


# -- learned classes --------------------------------------------------------------------------------------------------

CLASSES = (
    ("workload:spiffe://shop/front/pod/*", "workload:shop/front/pod/*"),
    ("workload:spiffe://shop/*/pod/*", "workload:later"),
    ("client:runner-*", "client:runner-*"),
    ("key:*", "workload:shop/front/pod/*"),
)
LEARNED = compile_trust(TrustConfig(jwks=JWKS), KEY, CLASSES)


def test_learned_classes_take_new_instances_in() -> None:
    identity = who(spiffe("front/pod/never-seen"), trust=LEARNED)
    assert (identity.cls, identity.workload) == ("workload:shop/front/pod/*", "shop/front/pod/*")
    assert who(spiffe("cart/pod/a"), trust=LEARNED).cls == "workload:later"
    assert who(spiffe("front/pod/a/b"), trust=LEARNED).cls == "workload:b", "a `*` does not pass a step"
    assert who(authorization=bearer(azp="runner-4f9a8b7c6d"), trust=LEARNED).cls == "client:runner-*"


def test_nobody_names_itself_into_a_learned_class() -> None:
    nobody_checks = compile_trust(TrustConfig(), KEY, CLASSES)
    forged = who(authorization=bearer(sub="spiffe://shop/front/pod/x"), trust=nobody_checks)
    assert (forged.kind, forged.strength, forged.cls) == ("workload", Strength.GUESSED, "workload")
    assert who(authorization=bearer(azp="runner-1"), trust=nobody_checks).cls == "client"


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.text(alphabet="ab*/.:", max_size=8), max_size=6),
    st.text(alphabet="ab/.:", max_size=10),
    st.booleans(),
)
def test_globs_agree_with_their_obvious_twin(globs: list[str], name: str, steps: bool) -> None:
    def matches(glob: str, text: str, char: str) -> bool:
        if not glob:
            return not text
        if glob[0] == "*":
            return matches(glob[1:], text, char) or (bool(text) and text[0] not in char and matches(glob, text[1:], char))
        return bool(text) and text[0] == glob[0] and matches(glob[1:], text[1:], char)

    expected = next(
        (number for number, glob in enumerate(globs) if matches(glob, name, "" if not steps else "/" if "://" in glob else "/.")),
        None,
    )
    assert GlobTable(((glob, number) for number, glob in enumerate(globs)), steps=steps).get(name) == expected


def test_a_hostile_glob_takes_linear_time() -> None:
    table: GlobTable[int] = GlobTable([("a" + "*a" * 60 + "b", 1)])
    assert table.get("a" * 4_000) is None


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("spiffe://shop/ns/web/sa/front", "web/front"),
        ("spiffe://shop/ns/web/sa/front/pod/front-7d9f8b6c5-x2x4z", "web/front"),
        ("spiffe://shop/region/eu/ns/web/sa/front", "web/front"),
        ("system:serviceaccount:web:front", "web/front"),
        ("web/front", "web/front"),
        ("front-7d9f8b6c5-bcdfg.web.svc", "front"),  # a random suffix without a digit
        ("front-7d9f8b6c5-x2x4z", "front"),
        ("web-https", "web-https"),
        ("ip-10-0-0-7.ec2.internal", "ip-10-0-0-7"),
        ("db-12", "db"),
        ("kafka-2-0", "kafka-2"),
        ("spiffe://shop/front", "front"),
    ],
)
def test_names_without_what_differs_between_instances(name: str, short: str) -> None:
    assert workload_name(name) == short


def test_two_accounts_of_one_name_are_two_classes() -> None:
    assert who(spiffe("ns/web/sa/default")).cls != who(spiffe("ns/billing/sa/default")).cls


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "sub",
                "act",
                "azp",
                "agent_id",
                "agent",
                "agent_type",
                "sub_profile",
                "client_profile",
                "xms_act_fct",
                "gty",
                "delegator_sub",
            ]
        ),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.text(max_size=5)
            | st.sampled_from(["ai_agent", "11", "a@clients", "spiffe://x"]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["sub", "act", "id", "sub_profile"]), inner, max_size=3)
            ),
        ),
    ),
    st.dictionaries(
        st.sampled_from(["user-agent", "signature-agent", "mcp-protocol-version", "x-forwarded-for"]),
        st.text(max_size=30),
        max_size=4,
    ),
)
def test_any_claims_and_headers_give_an_identity(claims: dict[str, Any], headers: dict[str, str]) -> None:
    fields = {**headers, "authorization": bearer(**claims)}
    identity = resolve(Call("1", "s", NOW, Peer("10.0.0.4"), Request("GET", "/", fields)), TRUST)
    assert identity.actor.startswith(identity.kind + ":")
    known = {f"{p.kind}:{p.name}" for p in identity.chain}
    assert {identity.actor, identity.agent, identity.human} - {""} <= known
    assert all(len(name) < 300 and name.isprintable() for name in known | {identity.cls, identity.workload})
    strengths = [p.strength for p in identity.chain]
    assert strengths == sorted(strengths, reverse=True)
