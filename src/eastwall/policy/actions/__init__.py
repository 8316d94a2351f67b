"""How verdicts reach the caller, one file per form."""
