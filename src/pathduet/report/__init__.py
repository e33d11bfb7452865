"""The report: one self-contained HTML page about a run, and the lines that end it on the terminal."""
