"""The words of the pocket corpus."""

from __future__ import annotations

from mtlser.corpus.pocket_text import NEUTRAL_WORDS, SHORT_TEMPLATES, TEMPLATES, VALENCE_WORDS


def vocabulary() -> frozenset[str]:
    """Every word that a sentence can hold."""
    paired = {word for pairs in VALENCE_WORDS.values() for pair in pairs for word in pair}
    neutral = {word for words in NEUTRAL_WORDS.values() for word in words}
    fixed = {word for form in SHORT_TEMPLATES + TEMPLATES for word in form.split() if not word.startswith("{")}
    return frozenset(paired | neutral | fixed)
