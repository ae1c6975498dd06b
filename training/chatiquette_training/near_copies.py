"""Finds texts that are almost word for word alike."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from datasketch import MinHash, MinHashLSH

THRESHOLD = 0.6
"""Two texts whose sets of word 3-grams have at least this Jaccard similarity are near-copies."""

# Bands of three hashes, and many of them: a pair at the threshold shares a band with a probability of 0.9999.
_BANDS, _ROWS = 42, 3


def near_copies(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yields the positions (earlier, later) of every two near-copies; texts under three words have none.

    MinHash signatures (Broder 1997) in a locality-sensitive index propose candidates, whose similarity is then computed.
    """
    index = MinHashLSH(num_perm=_BANDS * _ROWS, params=(_BANDS, _ROWS))
    seen = [_grams(text) for text in texts]
    for later, grams in enumerate(seen):
        if not grams:
            continue
        signature = MinHash(num_perm=_BANDS * _ROWS)
        signature.update_batch([gram.encode() for gram in grams])
        for earlier in sorted(index.query(signature)):
            if len(grams & seen[earlier]) / len(grams | seen[earlier]) >= THRESHOLD:
                yield earlier, later
        index.insert(later, signature)


def _grams(text: str) -> set[str]:
    words = re.findall(r"\w+", text.casefold())
    return {" ".join(words[i : i + 3]) for i in range(len(words) - 2)}
