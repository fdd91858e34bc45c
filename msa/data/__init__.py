"""Data: sources, validation, missingness, text encoders and the data passport."""
