"""Where records and snapshots are kept."""
