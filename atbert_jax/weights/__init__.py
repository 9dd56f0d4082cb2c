"""Others' weights and ours: a table of rules for each family, and what applies it."""
