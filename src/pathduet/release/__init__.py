"""A trained model as one folder (`pathduet export`), and what it says of new slides (`pathduet predict`)."""
