"""The ways in: Envoy with the shim, Envoy with ext_proc."""
