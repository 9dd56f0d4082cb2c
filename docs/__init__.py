"""The documentation: its pages, and what makes the parts of them that come from the code."""
