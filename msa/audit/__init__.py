"""Audit of printed numbers: what tables say about themselves, without any training."""

from msa.audit.command import add_parser, main

__all__ = ["add_parser", "main"]
