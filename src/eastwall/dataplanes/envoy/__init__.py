"""dataplanes/envoy."""
