"""Networks that others proposed."""
