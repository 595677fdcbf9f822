"""Workers on other hosts: the port between, who is invited, and whether both have the same code."""
