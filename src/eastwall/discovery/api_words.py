"""Words that published APIs use as route names: weak evidence that a segment is a name."""

from __future__ import annotations

from re import compile as regex

_WORDS = frozenset(
    ["access", "account", "accounts", "actions", "active", "activities", "activity", "add", "admins", "alerts", "aliases", "all", "api", "app", "applications", "approve", "apps", "archive", "articles", "artifacts", "assets", "attachment", "attachments", "audit", "auth", "authorization", "available", "batch", "billing", "blocks", "branches", "builds", "bulk", "by", "cache", "call", "cancel", "card", "cards", "categories", "category", "changes", "channels", "check", "checks", "claim", "clear", "client", "clients", "code", "codes", "collections", "comments", "config", "configuration", "contacts", "content", "contributors", "count", "countries", "coverage", "create", "credentials", "credit", "csv", "current", "custom", "dashboard", "data", "default", "delete", "deployments", "devices", "disable", "dns", "documents", "domains", "download", "downloads", "edit", "email", "emails", "enable", "environments", "event", "events", "export", "external", "fields", "files", "find", "generate", "get", "global", "group", "groups", "health", "history", "html", "id", "image", "images", "import", "info", "instances", "inventory", "invite", "invites", "ips", "issues", "item", "items", "join", "json", "key", "keys", "labels", "license", "licenses", "linked", "links", "list", "lists", "location", "locations", "lock", "log", "login", "logout", "logs", "lookup", "managed", "me", "members", "memberships", "message", "messages", "metadata", "methods", "metrics", "milestones", "models", "move", "name", "names", "namespaces", "networks", "notes", "notification", "notifications", "number", "numbers", "oauth", "order", "orders", "org", "organizations", "orgs", "password", "payment", "pending", "permissions", "phone", "plans", "preferences", "profile", "profiles", "projects", "public", "query", "questions", "queues", "random", "raw", "read", "records", "recover", "refresh", "register", "registration", "remove", "report", "reports", "request", "requests", "reset", "roles", "rules", "saved", "schedule", "schedules", "search", "secret", "secrets", "security", "send", "services", "session", "sessions", "set", "setting", "settings", "setup", "share", "similar", "sites", "snapshot", "ssh", "star", "start", "state", "stats", "status", "statuses", "stop", "subscription", "subscriptions", "suggestions", "summaries", "summary", "sync", "tags", "task", "team", "teams", "template", "templates", "test", "tests", "text", "thumbnail", "time", "to", "token", "tokens", "top", "tracking", "transactions", "transfer", "type", "types", "update", "updates", "upload", "url", "usage", "user", "username", "users", "validate", "values", "verify", "version", "versions", "webhook", "webhooks"]
)
_PART = regex(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def share_of_api_words(segment: str) -> float:
    """Share of the segment's letters that belong to such words, 0..1. `checkout-key`, `getUserInfo` and `api_keys` are taken apart."""
    parts = _PART.findall(segment)
    total = sum(map(len, parts))
    return sum(len(part) for part in parts if part.lower() in _WORDS) / total if total else 0.0
