"""How much callers are given and do, by hour, day and week; and which classes of callers get which data."""
