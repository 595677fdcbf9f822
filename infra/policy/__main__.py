"""What `pulumi up --policy-pack infra/policy` runs."""

import sys
from pathlib import Path

# Pulumi runs this folder as a program; its modules are those of the import root above it.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from policy.analyzer import announce_on_stdout, serve

serve(announce_on_stdout)
