"""dbt, in an environment of its own, on the stores of a stack."""
