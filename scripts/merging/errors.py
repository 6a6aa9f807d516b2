"""The one way a merge fails."""


class MergeError(Exception):
    """What stands in the way, naming the file; nothing was written."""
