"""Ids that a caller names and was never given: how many, how many of them fail, and whether they follow one another."""
