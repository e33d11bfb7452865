"""Downloads that can be killed at any time: ranges resumed, checksums verified, files complete or absent."""
