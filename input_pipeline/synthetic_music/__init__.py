"""Music with captions, composed and synthesized."""
