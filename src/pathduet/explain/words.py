"""Display names of subspaces in headings and sentences."""

from __future__ import annotations

from collections.abc import Sequence


def subspace_word(name: str) -> str:
    """Return a subspace's name inside a sentence; names of up to three letters are abbreviations.

    >>> subspace_word("tumor"), subspace_word("tme"), subspace_word("blood_vessels")
    ('tumor', 'TME', 'blood vessels')
    """
    words = name.replace("_", " ")
    return words.upper() if len(words) <= 3 else words


def subspace_title(name: str) -> str:
    """Return a subspace's name in a heading.

    >>> subspace_title("tumor"), subspace_title("tme")
    ('Tumor', 'TME')
    """
    word = subspace_word(name)
    return word[:1].upper() + word[1:]


def listed(words: Sequence[str]) -> str:
    """Return words as a list in a sentence.

    >>> listed(["tumor", "TME"]), listed(["tumor", "immune", "stroma"])
    ('tumor and TME', 'tumor, immune and stroma')
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
