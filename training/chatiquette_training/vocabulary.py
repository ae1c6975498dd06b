"""XLM-R's tokenizer, and the part of its vocabulary that English, Romanian, Slovak and Finnish need.

Most of the 250,002 pieces never occur in the four languages. Trimming keeps the pieces that the full tokenizer uses on
their common words in the forms people type, so that text of the four languages is segmented as before while the
embedding shrinks to a quarter.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable, Iterable, Sequence

import sentencepiece
import wordfreq
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tqdm.auto import tqdm

from chatiquette.taxonomy import LANGUAGES

from .perturbations import without_diacritics

Piece = tuple[str, float]

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_SPACE = "▁"  # SentencePiece's mark of a word start
_ALL_WORDS = 200_000  # wordfreq ends earlier for Romanian and Slovak
_COMMON_WORDS = 30_000
_ALPHABETS = frozenset("abcdefghijklmnopqrstuvwxyzăâîșțşţáäčďéíĺľňóôŕšťúýžåö")
_SHORT = 3  # letters


def build_tokenizer(pieces: Sequence[Piece]) -> Tokenizer:
    """Builds XLM-R's tokenizer over `pieces`, whose first four are ``<s> <pad> </s> <unk>`` and whose last is ``<mask>``.

    Pairs are joined as XLM-R joins them: ``<s> message </s></s> context </s>``.
    """
    tokenizer = Tokenizer(models.Unigram(list(pieces), unk_id=3))
    # XLM-R's rules turn the zero-width joiner into a space; later SentencePiece versions keep it.
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace("\u200d", " "), normalizers.Precompiled(_nmt_nfkc())]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def common_pieces(pieces: Sequence[Piece]) -> list[int]:
    """Returns the ids, ascending, of the pieces that text of the four languages commonly needs.

    These are the special tokens; the digits, punctuation, emoji and Latin letters; every piece of up to three letters of the
    four alphabets, from which rare names and abbreviations are put together; and every piece that the full tokenizer uses
    on the words that ``wordfreq`` lists for the four languages (as they are, capitalised, in capitals, after a bracket and
    without diacritics).
    """
    kept = {0, 1, 2, 3, len(pieces) - 1}
    kept.update(i for i, (piece, _) in enumerate(pieces) if _is_basic(piece.lstrip(_SPACE)))
    words = [_word_forms(language) for language in LANGUAGES]
    return sorted(kept | used_pieces(pieces, tqdm(words, desc="trimming the vocabulary", unit="language")))


def used_pieces(pieces: Sequence[Piece], batches: Iterable[list[str]]) -> set[int]:
    """Returns the ids of the pieces that the full tokenizer uses on the texts of all batches."""
    tokenizer = build_tokenizer(pieces)
    used: set[int] = set()
    for batch in batches:
        for encoding in tokenizer.encode_batch(batch, add_special_tokens=False):
            used.update(encoding.ids)
    return used


def _word_forms(language: str) -> list[str]:
    words = wordfreq.top_n_list(language, _ALL_WORDS)
    forms: list[Callable[[str], str]] = [str, str.capitalize, without_diacritics]
    common_forms: list[Callable[[str], str]] = [
        str.upper,
        lambda word: "(" + word,
        lambda word: "(" + word.capitalize(),
        lambda word: without_diacritics(word).capitalize(),
    ]
    listed = [form(word) for form in forms for word in words]
    listed += [form(word) for form in common_forms for word in words[:_COMMON_WORDS]]
    return list(dict.fromkeys(listed))


def _is_basic(piece: str) -> bool:
    """Tells whether the piece is a few letters, or up to six digits and symbols that go with Latin script."""
    if len(piece) <= _SHORT and _ALPHABETS.issuperset(piece.casefold()):
        return True
    if len(piece) == 1 and piece.isalpha():
        return ord(piece) < 0x250 and unicodedata.name(piece, "").startswith("LATIN")
    return len(piece) <= 6 and all(
        not c.isalpha() and not unicodedata.category(c).startswith("M") and _is_western_symbol(c) for c in piece
    )


def _is_western_symbol(character: str) -> bool:
    code = ord(character)
    return code < 0x2300 or 0x2600 <= code < 0x2800 or code >= 0x1F000  # up to arrows and maths; dingbats; emoji


def _nmt_nfkc() -> bytes:
    """Returns SentencePiece's compiled ``nmt_nfkc`` rules, XLM-R's normaliser, which any model it trains contains."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c d e f g h"]),
        model_writer=model,
        vocab_size=12,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model.getvalue())
    return bytes(proto.normalizer_spec.precompiled_charsmap)
