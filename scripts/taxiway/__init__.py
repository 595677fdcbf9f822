"""What the verbs in scripts/ do: environments created, run, shown and removed."""
