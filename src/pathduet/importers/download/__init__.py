"""Downloads that can be killed at any moment: ranges resumed, checksums verified, files whole or absent."""
