"""Audit log, control evidence, attestations. Empty until the issues that fill it; the layer contract already holds it."""
