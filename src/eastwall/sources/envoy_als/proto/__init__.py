"""A vendored, wire-compatible subset of Envoy's protos, and what is generated from it."""
