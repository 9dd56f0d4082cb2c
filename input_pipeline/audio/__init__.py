"""Record -> waveform, and what is computed from it with NumPy."""
