"""Records → what the book shows: tables, figures, tests and sentences, each with its provenance."""
