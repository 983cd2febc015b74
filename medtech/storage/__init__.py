"""Azure Table and Blob storage: where the app keeps what must outlive an instance.

`connection` opens the account, `table` and `lease` are what the app does there, `payload` is how large values are kept
in a row, `faults` says what the service's errors mean. Tables and leases are asked for by `direct`, or by `library` if
the setting `STORAGE_CLIENT` says so. No other room imports the storage packages' error types, except to ask for the one
answer that it can handle.

The storage packages take 0.2 s to import, so they are imported where the first call needs them.
"""
