"""A deterministic source of TLC-like months, served at TLC's own paths."""
