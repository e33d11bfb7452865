"""Feature files and the token map built from them."""
