"""``python -m pathduet`` is the command ``pathduet``."""

from pathduet.cli import main

main()
