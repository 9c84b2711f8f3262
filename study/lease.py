"""A lock on storage that has none: an object that its holder rewrites again and again for as long as it lives."""
