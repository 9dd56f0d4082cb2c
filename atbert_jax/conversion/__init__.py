"""Weights from PyTorch and back: one engine, and one table of rules for each family."""
