"""The parts of a network: positions, patterns, mixers, feed-forwards, norms, losses. Nothing here knows a model."""
