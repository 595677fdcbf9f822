"""The emulated cloud of the embedded and Compose targets: nothing here is used on Google Cloud."""
