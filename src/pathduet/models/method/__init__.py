"""The paper's networks, one block a file."""
