"""One file for each runnable experiment; what all of them share is in `defaults`."""
