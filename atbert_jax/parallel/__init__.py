"""Devices: which there are, what lives on which of them, and what compiled programs do there."""
