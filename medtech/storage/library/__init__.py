"""Tables and leases through the Azure packages, for `STORAGE_CLIENT` `library`."""
