"""stores/chdb."""
