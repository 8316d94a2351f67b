"""Which caller is an AI agent or an MCP client: from token claims (worth what the token is worth) and from headers (a guess).

Claims, as they are in the field:
- `sub_profile`, `client_profile` (OAuth Entity Profiles, draft-mora-oauth-entity-profiles), also inside `act` (OAuth Actor Profile,
  draft-mcguinness-oauth-actor-profile), with the value `ai_agent`;
- `xms_act_fct`, `xms_sub_fct` of Microsoft Entra Agent ID: 11 is an agent identity, 13 an agent's own user account;
- `agent_id`, `agent_instance_id`, `agent_type` with `delegator_sub` (OpenID Connect for Agents, OIDC-A 1.0).

Headers: the client's name in `User-Agent`; `Signature-Agent` (draft-meunier-web-bot-auth-architecture), whose signature is not checked here;
`MCP-Protocol-Version` and `Mcp-Session-Id`, which only MCP clients send. The `clientInfo` of an MCP `initialize` is in the body and is
not looked at: identities are resolved from headers alone, before any body is there.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

_AI_AGENT = "ai_agent"
_ENTRA_AGENT = "11"
_ENTRA_AGENT_USER = "13"
MAX_HEADER = 512
"""Characters of a header that are read."""
_CLIENTS = (
    # Assistants that fetch or act for somebody; crawlers that gather training data act for nobody and are not among them.
    *(
        "chatgpt-user",
        "claude-user",
        "duckassistbot",
        "google-agent",
        "gemini-deep-research",
        "manus-user",
        "meta-externalfetcher",
    ),
    *("mistralai-user", "novaact", "openai-mcp", "operator", "perplexity-user", "devin"),
    # Programming agents and desktop clients.
    *("aider", "amazonq", "amp", "augment", "claude-code", "claude-desktop", "cline", "codex_cli_rs", "codex-cli", "continue"),
    *(
        "cursor",
        "gemini-cli",
        "geminicli",
        "github-copilot",
        "githubcopilotchat",
        "goose",
        "kilo-code",
        "kiro",
        "librechat",
        "lm-studio",
    ),
    *("opencode", "openhands", "roo-code", "roocode", "warp-agent", "windsurf", "zed"),
    # Frameworks and MCP clients.
    *(
        "autogen",
        "autogpt",
        "browser-use",
        "crewai",
        "dify",
        "fastmcp",
        "flowise",
        "google-adk",
        "haystack",
        "langchain",
        "langgraph",
    ),
    *(
        "llama-index",
        "llamaindex",
        "mcp-client",
        "mcp-inspector",
        "mcp-python-client",
        "mcp-remote",
        "mcp-use",
        "modelcontextprotocol",
    ),
    *("openai-agents", "pydantic-ai", "semantic-kernel", "skyvern", "smolagents", "strands-agents"),
)
"""Product tokens of User-Agent headers, lower-case."""
_PRODUCT = re.compile(
    r"(?:^|(?<=[\s(;,]))(" + "|".join(sorted(map(re.escape, _CLIENTS), key=len, reverse=True)) + r")(?=[/\s;)]|$)"
)
_ORIGIN = re.compile(r"(?:[^\s=]{1,32}=)?\"?https://([a-z0-9.-]{1,128})(?::[0-9]{1,5})?/?\"?")


@lru_cache(maxsize=1_024)
def from_headers(user_agent: str | None, signature_agent: str | None, *, mcp: bool) -> str:
    """The name that the headers suggest: `claude-code`, `chatgpt.com`, `mcp` (a client of that protocol that does not say more); empty: none.

    Remembered, so give it no more than MAX_HEADER characters of each.
    """
    if signature_agent and (origin := _ORIGIN.fullmatch(signature_agent.strip().lower())):
        return origin[1]
    if user_agent and (product := _PRODUCT.search(user_agent.lower())):
        return product[1]
    return "mcp" if mcp else ""


def subject_kind(claims: dict[str, Any]) -> str:
    """What the subject of a token is: `agent`, `client` (a machine by itself), or `user` where nothing says otherwise."""
    profiles = _profiles(claims.get("sub_profile"))
    if _AI_AGENT in profiles or "agent_type" in claims or _facets(claims, "xms_sub_fct") & {_ENTRA_AGENT, _ENTRA_AGENT_USER}:
        return "agent"
    subject = claims.get("sub")
    machine = (
        # Auth0 says so in `gty` and the subject, Entra in `idtyp`.
        claims.get("gty") == "client-credentials"
        or claims.get("idtyp") == "app"
        or (isinstance(subject, str) and subject.endswith("@clients"))
        or (bool(profiles) and "user" not in profiles and bool(profiles & {"service", "client", "client_instance"}))
    )
    return "client" if machine else "user"


def client_kind(claims: dict[str, Any]) -> str:
    """What the client of a token (`azp`, `client_id`) is: `agent` or `client`."""
    if _AI_AGENT in _profiles(claims.get("client_profile")) or _ENTRA_AGENT in _facets(claims, "xms_act_fct"):
        return "agent"
    return "client"


def actor_kind(act: dict[str, Any]) -> str:
    """What an entry of the `act` chain is: `agent`, `user` or `client`."""
    profiles = _profiles(act.get("sub_profile"))
    return "agent" if _AI_AGENT in profiles or "agent_id" in act else "user" if "user" in profiles else "client"


def agent_claim(claims: dict[str, Any]) -> str:
    """The agent that a token names in a claim of its own; empty: none."""
    for name in ("agent_id", "agent_instance_id", "agent"):
        value = claims.get(name)
        if isinstance(value, dict):
            value = value.get("id") or value.get("sub")
        if isinstance(value, str) and value:
            return value
    return ""


def _profiles(value: Any) -> frozenset[str]:
    """Entity profiles: words separated by spaces, or a list of them."""
    if isinstance(value, str):
        return frozenset(value[:MAX_HEADER].split())
    return frozenset(item for item in value[:16] if isinstance(item, str)) if isinstance(value, list) else frozenset()


def _facets(claims: dict[str, Any], name: str) -> frozenset[str]:
    return _profiles(claims.get(name))
