"""The processes, and where they are put together."""
