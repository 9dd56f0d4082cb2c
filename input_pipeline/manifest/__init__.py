"""Manifest -> records."""
