"""Bytes to Operation, one file per protocol."""
