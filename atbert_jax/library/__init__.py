"""A library of one's own: recordings as vectors, kept in a folder, and searched."""
