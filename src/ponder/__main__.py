"""``python -m ponder``."""

from ponder.cli.main import main

main()
