"""A lake, a warehouse and the identity that may use them, as Pulumi components."""
