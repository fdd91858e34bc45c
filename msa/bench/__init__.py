"""Cost of the models: seconds, memory, parameters, multiply-accumulate operations."""

from msa.bench.command import add_parser

__all__ = ["add_parser"]
