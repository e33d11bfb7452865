"""A trained model as one folder (`pathduet export`), and its use on new slides (`pathduet predict`)."""
