"""The report: one self-contained HTML page about a run, and the final lines on the terminal."""
