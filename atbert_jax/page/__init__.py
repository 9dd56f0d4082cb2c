"""A page of one's own: search, listen and label in a browser."""
