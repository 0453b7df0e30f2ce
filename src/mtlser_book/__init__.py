"""The publishing of the book: execute the notebooks, stage the pages, build the site."""


class Stop(Exception):
    """An expected end with an error; the message says what to do."""
