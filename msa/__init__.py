"""Reference replication of MFMB-Net and MIT-FRNet on multimodal sentiment analysis.

Imports run one way: ``report -> study -> train -> models -> data``.
"""

__version__ = "0.1.0"
