"""From files on disk to utterances, folds and batches."""
