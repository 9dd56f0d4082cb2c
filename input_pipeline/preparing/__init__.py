"""Shards and files of features, written ahead of training."""
