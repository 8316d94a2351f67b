"""Whose the data is, by what messages say themselves: fields that hold the caller's own claims, or the caller's own id at the service."""
