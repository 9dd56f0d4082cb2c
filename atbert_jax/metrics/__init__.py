"""Numbers of answers and targets."""
