"""The science of the book: corpus, model, runs and report of *Speech Emotion Recognition with Multi-task Learning*.

Data flows one way, through four rooms: `mtlser.corpus` -> `mtlser.model` -> `mtlser.runs` -> `mtlser.report`.
"""

__version__ = "0.1.0"
