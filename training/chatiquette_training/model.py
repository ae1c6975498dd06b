"""The classifier: an XLM-R encoder, the mean over the message's own tokens, and one linear layer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerBase, XLMRobertaConfig, XLMRobertaModel
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaPreTrainedModel

from chatiquette.taxonomy import LABEL_NAMES

from .config import ConfigError


class EtiquetteModel(XLMRobertaPreTrainedModel):  # type: ignore[misc]
    """Scores the 23 labels of a message that is read together with its context.

    The encoder attends to message and context; the mean is taken over the message's tokens alone, because a verdict
    needs evidence in the message itself. A layer norm without parameters keeps the mean's scale from depending on the
    message's length. Where the pretrained knowledge sits was measured: see docs/decisions/0001-mean-pooling.md.
    With the configuration's ``pooling`` of ``"first"`` the first token stands for the mean.
    """

    def __init__(self, config: XLMRobertaConfig) -> None:
        super().__init__(config)
        self.roberta = XLMRobertaModel(config, add_pooling_layer=False)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @classmethod
    def from_backbone(
        cls, backbone: XLMRobertaModel, pooling: str = "mean", layers: int | None = None
    ) -> EtiquetteModel:
        """Puts a fresh classification layer, all zeros, on a pretrained encoder, or on evenly spaced `layers` of it.

        Raises:
            ConfigError: the encoder has fewer layers.
        """
        config = XLMRobertaConfig.from_dict(backbone.config.to_dict())
        if layers is not None:
            if layers > config.num_hidden_layers:
                raise ConfigError(f"model.layers: {layers} of an encoder that has {config.num_hidden_layers}")
            kept = np.linspace(0, config.num_hidden_layers - 1, layers).round().astype(int)
            backbone.encoder.layer = nn.ModuleList([backbone.encoder.layer[i] for i in kept])
            config.num_hidden_layers = layers
        config.pooling = pooling
        config.id2label = dict(enumerate(LABEL_NAMES))
        config.label2id = {name: i for i, name in enumerate(LABEL_NAMES)}
        config.problem_type = "multi_label_classification"
        model = cls(config)
        model.roberta.load_state_dict(backbone.state_dict())
        nn.init.zeros_(model.classifier.weight)
        nn.init.zeros_(model.classifier.bias)
        return model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SequenceClassifierOutput:
        """Returns logits, float32 ``[messages, 23]``.

        Args:
            input_ids: int64 ``[messages, tokens]``: ``<s> message </s></s> context </s>``, padded on the right.
            attention_mask: int64, the same shape: 1 for tokens, 0 for padding.
        """
        hidden = self.roberta(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if self.config.pooling == "first":
            pooled = hidden[:, 0]
        else:
            own = own_tokens(input_ids, self.config.bos_token_id, self.config.eos_token_id).unsqueeze(-1)
            pooled = (hidden * own).sum(dim=1) / own.sum(dim=1).clamp(min=1)
        pooled = functional.layer_norm(pooled.float(), (self.config.hidden_size,))
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(pooled)))


def own_tokens(input_ids: Tensor, bos: int, eos: int) -> Tensor:
    """Marks the message's own tokens, those between ``<s>`` and the first ``</s>``: float32 of the shape of `input_ids`."""
    before_end = (input_ids == eos).to(torch.int64).cumsum(dim=1) == 0
    return (before_end & (input_ids != bos)).to(torch.float32)


@torch.inference_mode()
def predict_logits(
    model: EtiquetteModel, tokenizer: PreTrainedTokenizerBase, dataset: Dataset, batch_size: int = 32
) -> npt.NDArray[np.float32]:
    """Returns the model's logits in full precision, whatever precision it was trained in: float32 ``[messages, 23]``."""
    model.eval()
    rows = np.argsort(dataset["length"], kind="stable")  # similar lengths together: little padding
    logits = np.zeros((len(dataset), model.config.num_labels), np.float32)
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        columns = dataset.select(batch).select_columns(["input_ids", "attention_mask"]).to_dict()
        inputs = tokenizer.pad(columns, return_tensors="pt").to(model.device)
        logits[batch] = model(**inputs).logits.float().cpu().numpy()
    return logits
