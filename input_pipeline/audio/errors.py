"""What is raised where sound cannot be had."""


class AudioError(ValueError):
    """A file that cannot be read as audio; the message names the file and the reason."""
