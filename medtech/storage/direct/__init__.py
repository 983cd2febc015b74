"""Tables by requests of the app's own, in a third of azure-data-tables' CPU time or less (`python -m bench.storage`).

Over the same connections the package would take half as long again: what it adds is `no network` there. The protocol is
"Table service REST API" of Azure's documentation, version 2019-02-02, as azure-data-tables speaks it:
`entity` and `transaction` are what is sent and answered, `authorization` is how requests are signed, `sender` is
the connection with its retries, `tables` puts them together. `TABLE_CLIENT` `library` goes back to the package, and
every test of tables runs on both.
"""
