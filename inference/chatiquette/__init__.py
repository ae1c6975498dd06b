"""Multilingual etiquette classifier for live chat: which rules of etiquette a message followed and which it violated."""

from importlib.metadata import version

from .bundle import BundleError
from .classifier import EtiquetteClassifier, Prediction

__all__ = ["BundleError", "EtiquetteClassifier", "Prediction", "__version__"]

__version__ = version("chatiquette")
