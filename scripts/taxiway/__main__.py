"""`python -m taxiway COMMAND …`: what the wrappers in scripts/ call."""

import sys

from taxiway.cli.main import main

sys.exit(main(wrapped=True))
