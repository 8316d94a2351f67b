"""Incidents, kill chain, actors, forensics, hunting. Empty until the issues that fill it; the layer contract already holds it."""
