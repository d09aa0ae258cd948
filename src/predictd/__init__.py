"""predictd: an open, self-hosted Model Uploads platform."""

__version__ = "0.1.0"
