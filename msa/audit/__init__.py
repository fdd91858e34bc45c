"""Audit of printed numbers: what tables say about themselves, without any training."""

from msa.audit.command import add_parser

__all__ = ["add_parser"]
