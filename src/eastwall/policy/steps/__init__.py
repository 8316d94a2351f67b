"""The steps of `evaluate`, one file each: what a kind of policy compiles to, and what it says of a call."""
