"""Feature files and the token map made of them."""
