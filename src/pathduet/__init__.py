"""PathDuet: whole-slide images and transcriptomes in, trustworthy results out."""

__version__ = "0.1.0"
