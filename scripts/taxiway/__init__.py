"""What the commands in scripts/ do: create, run, show and remove environments."""
