"""What is measured: one module each, with `TITLE` and `run(bench) -> Section`."""
