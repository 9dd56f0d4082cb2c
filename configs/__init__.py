"""One file for each runnable experiment; what all of them share is in `defaults`.

`get_config` of each takes the words behind its name (see `words`), and raises a ValueError with the
choices where one is unknown.
"""
