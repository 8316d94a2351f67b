"""Attempts on accounts: sign-in, one-time codes, resets, registration; and whether answers tell who has an account."""
