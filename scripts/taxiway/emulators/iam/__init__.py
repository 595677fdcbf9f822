"""IAM, Resource Manager and Service Usage (and Compute's project), as far as the provider asks for them."""
