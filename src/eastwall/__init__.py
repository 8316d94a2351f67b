"""Eastwall: runtime security for the APIs inside the perimeter. Start reading at `eastwall.decision.decide`."""

__version__ = "0.1.0"
