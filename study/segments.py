"""A ledger of immutable objects, for storage that cannot append."""
