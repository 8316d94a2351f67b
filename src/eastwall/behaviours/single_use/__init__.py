"""Codes that are used once: coupons, one-time codes, tokens of resets and invitations."""
