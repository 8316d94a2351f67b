"""policy/actions."""
