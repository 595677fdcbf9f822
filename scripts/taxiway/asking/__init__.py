"""Questions to the stores, with answers in any form, and to the platform whether all is well."""
