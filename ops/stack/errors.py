"""What can go wrong between `up` and a running stack, as a line to show to the user."""


class StackFailed(Exception):  # noqa: N818  named after its cause
    """A part of the embedded stack could not be brought up; the message names it."""


class ArtifactRefused(StackFailed):
    """A downloaded file is not the one whose SHA-256 the repository holds."""
