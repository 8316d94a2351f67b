"""The decision about a call. Start at decide.py."""
