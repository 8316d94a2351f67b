"""Which endpoint, whose identity, which data."""
