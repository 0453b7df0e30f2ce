"""The publishing of the book: execute the notebooks, stage the pages, build the site."""
