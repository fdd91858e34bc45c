"""Training: configuration, metrics, the trainer and a single run."""
