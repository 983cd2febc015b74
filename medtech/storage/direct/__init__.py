"""Tables and leases by requests of the app's own, in a third of the Azure packages' CPU time or less
(`python -m bench.storage`).

Over the same connections the packages would take half as long again: what one adds is `no network` there. The protocol
is "Table service REST API" and "Blob service REST API" of Azure's documentation, version 2019-02-02, as the packages
speak it: `entity` and `transaction` are what is sent and answered, `authorization` is how requests are signed, `sender`
is the connection with its retries, `tables` and `leases` put them together. `STORAGE_CLIENT` `library` goes back to the
packages, and every test of tables and leases runs on both.
"""
