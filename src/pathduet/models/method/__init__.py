"""The paper's networks, one block per file."""
