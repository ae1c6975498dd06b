"""Puts the tokenizer into the graph: strings in, logits out, for stacks that have onnxruntime-extensions and no tokenizer."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import onnx
from onnx import ModelProto, compose, parser
from sentencepiece import sentencepiece_model_pb2

_EXTENSIONS = "ai.onnx.contrib"

# The tokenizer gives the ids of all texts in one row, and where each text's begin and end. What follows joins message and context
# as `chatiquette.encoding` does: the longer is cut first, <s> message </s></s> context </s>, padded on the right.
_ENCODE = """
<ir_version: 9, opset_import: ["": 20, "ai.onnx.contrib": 1]>
encode (string[batch] text, string[batch] context) => (int64[batch, tokens] input_ids, int64[batch, tokens] attention_mask)
<
  int64[1] best = {0}, float[1] alpha = {0}, bool[1] no = {0}, bool[1] yes = {1},
  int64 zero = {0}, int64 one = {1}, int64 two = {2}, int64 three = {3},
  int64[1] first = {0}, int64[1] second = {1}, int64[1] last = {-1}, int64[1] all = {9223372036854775807},
  int64[1] pad = {1}, int64[1] end = {2}, int64 room_of_all = {MAX_LENGTH}
>
{
  text_pieces, text_bounds = ai.onnx.contrib.SentencepieceTokenizer (text, best, alpha, no, no, no, yes)
  context_pieces, context_bounds = ai.onnx.contrib.SentencepieceTokenizer (context, best, alpha, no, no, no, yes)
  text_start = Slice (text_bounds, first, last)
  text_stop = Slice (text_bounds, second, all)
  text_size = Sub (text_stop, text_start)
  context_start = Slice (context_bounds, first, last)
  context_stop = Slice (context_bounds, second, all)
  context_size = Sub (context_stop, context_start)

  has_context = Greater (context_size, zero)
  has_context_int = Cast <to = 7> (has_context)
  two_more = Mul (has_context_int, two)
  controls = Add (two_more, two)
  room = Sub (room_of_all, controls)
  half = Div (room, two)
  other_half = Sub (room, half)
  rest_of_context = Sub (room, context_size)
  both = Add (text_size, context_size)
  both_fit = LessOrEqual (both, room)
  text_is_short = LessOrEqual (text_size, half)
  context_is_short = LessOrEqual (context_size, half)
  text_is_shorter = LessOrEqual (text_size, context_size)
  text_stays = Or (both_fit, text_is_short)
  of_two_long = Where (text_is_shorter, half, other_half)
  of_long_text = Where (context_is_short, rest_of_context, of_two_long)
  text_kept = Where (text_stays, text_size, of_long_text)
  rest_of_text = Sub (room, text_kept)
  context_kept = Min (context_size, rest_of_text)

  kept = Add (text_kept, context_kept)
  size = Add (kept, controls)
  longest = ReduceMax <keepdims = 0> (size)
  at = Range (zero, longest, one)
  text_length = Unsqueeze (text_kept, second)
  context_length = Unsqueeze (context_kept, second)
  length = Unsqueeze (size, second)

  text_from = Unsqueeze (text_start, second)
  text_at = Sub (at, one)
  in_text_low = GreaterOrEqual (text_at, zero)
  in_text_high = Less (text_at, text_length)
  in_text = And (in_text_low, in_text_high)
  text_any = Add (text_from, text_at)
  text_index = Where (in_text, text_any, zero)
  text_long = Cast <to = 7> (text_pieces)
  text_never_empty = Concat <axis = 0> (text_long, end)
  text_ids = Gather (text_never_empty, text_index)

  context_from = Unsqueeze (context_start, second)
  context_after = Add (text_length, three)
  context_at = Sub (at, context_after)
  in_context_low = GreaterOrEqual (context_at, zero)
  in_context_high = Less (context_at, context_length)
  in_context = And (in_context_low, in_context_high)
  context_any = Add (context_from, context_at)
  context_index = Where (in_context, context_any, zero)
  context_long = Cast <to = 7> (context_pieces)
  context_never_empty = Concat <axis = 0> (context_long, end)
  context_ids = Gather (context_never_empty, context_index)

  start_or_end = Where (in_text_low, end, first)
  with_context = Where (in_context, context_ids, start_or_end)
  with_text = Where (in_text, text_ids, with_context)
  present = Less (at, length)
  input_ids = Where (present, with_text, pad)
  attention_mask = Cast <to = 7> (present)
}
"""


def with_tokenizer(graph: ModelProto, tokenizer: Path, max_length: int) -> ModelProto:
    """Returns the graph with inputs `text` and `context`, string ``[batch]``; a context of "" is none.

    It needs the operators of onnxruntime-extensions. Its tokens are those of ``tokenizer.json`` but for emoji that a
    zero-width joiner makes of several, and where two ways to cut a word are equally likely.

    Args:
        graph: as `chatiquette_training.graph.build` returns it.
        tokenizer: the model's ``tokenizer.json``.
        max_length: the most tokens the model reads, message and context together.
    """
    encode = parser.parse_model(_ENCODE.replace("MAX_LENGTH", str(max_length)))
    pieces = _sentencepiece_model(tokenizer)
    for node in encode.graph.node:
        if node.domain == _EXTENSIONS:
            node.attribute.append(onnx.helper.make_attribute("model", pieces))
    encode = compose.add_prefix(encode, "encode.", rename_inputs=False, rename_outputs=False)
    return compose.merge_models(encode, graph, io_map=[(name, name) for name in ("input_ids", "attention_mask")])


def _sentencepiece_model(tokenizer: Path) -> bytes:
    """Returns SentencePiece's model of the same pieces and rules, in its own order: <unk>, <s>, </s>, and no <pad>."""
    content = json.loads(tokenizer.read_text(encoding="utf-8"))
    proto = sentencepiece_model_pb2.ModelProto()
    kinds = proto.SentencePiece
    for piece, kind in (("<unk>", kinds.UNKNOWN), ("<s>", kinds.CONTROL), ("</s>", kinds.CONTROL)):
        proto.pieces.add(piece=piece, score=0.0, type=kind)
    for piece, score in content["model"]["vocab"][4:-1]:
        proto.pieces.add(piece=piece, score=score, type=kinds.NORMAL)
    proto.trainer_spec.model_type = proto.trainer_spec.UNIGRAM
    normalizer = content["normalizer"] or {}
    for one in normalizer.get("normalizers", [normalizer]):
        if "precompiled_charsmap" in one:
            proto.normalizer_spec.precompiled_charsmap = base64.b64decode(one["precompiled_charsmap"])
    return bytes(proto.SerializeToString())
