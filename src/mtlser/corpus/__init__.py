"""The corpus: audio and transcripts on disk become one checked table of utterances, folds, and batches."""
