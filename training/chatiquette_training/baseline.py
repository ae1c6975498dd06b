"""The baseline that the model must beat: character n-grams and logistic regression."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline

from .dataset import targets
from .messages import Message


def baseline_probabilities(train: list[Message], test: list[Message]) -> npt.NDArray[np.float32]:
    """Fits on `train` and returns probabilities for `test`: float32 ``[messages, 23]``.

    Character 2- to 5-grams within words, TF-IDF, and one balanced logistic regression a label, on the message alone:
    the context's n-grams say nothing of the message.
    """
    model = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2),
        OneVsRestClassifier(LogisticRegression(C=10, class_weight="balanced", solver="liblinear")),
    )
    model.fit([message.text for message in train], targets(train))
    return np.asarray(model.predict_proba([message.text for message in test]), np.float32)
