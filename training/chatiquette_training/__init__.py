"""Training of the etiquette classifier: from labelled messages to an exported bundle."""
