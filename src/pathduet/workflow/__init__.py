"""What a run consists of, and how its jobs run."""
