"""Multilingual etiquette classifier for live chat: which rules of etiquette a message followed and which it violated."""

from importlib.metadata import version

from .bundle import BundleError
from .classifier import EtiquetteClassifier, Message, Prediction

__all__ = ["BundleError", "EtiquetteClassifier", "Message", "Prediction", "__version__"]

__version__ = version("chatiquette")
