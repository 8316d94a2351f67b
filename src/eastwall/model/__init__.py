"""The nouns that cross folders, all immutable. A docstring stands under every field: unit, range, who fills it.

They are `msgspec.Struct`s: as fast to build as a tuple (the engine builds dozens per call), typed, and encodable to
MessagePack for the spool and the snapshot without a second definition.
"""
