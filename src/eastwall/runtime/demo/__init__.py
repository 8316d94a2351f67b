"""A small shop with deliberate holes, its customers, and its attacker: what `eastwall demo` protects.

Three services (`storefront` -> `orders` -> `billing`), real processes with real HTTP, SQLite and signed tokens. Everything
vulnerable is confined: services listen on loopback, know invented people and test card numbers only, and read files in their own
temporary directory only. Nothing here is for use outside the demo.
"""
