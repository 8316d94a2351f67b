"""fold(state, record) -> state; state -> what a Snapshot holds."""
