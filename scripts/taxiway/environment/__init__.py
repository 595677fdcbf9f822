"""One environment of this checkout: its folder, state, ports and secrets."""
