"""The Prefect server that a flow talks to: the user's, or one of ours.

`managed` is where to start: it decides which one, and starts ours (`process` is its program,
`standby` starts it ahead, `database` puts one aside that is beyond use, `retry_503` is its patience
with SQLite). `settings` reads what the user has set of Prefect's; `external_api` has the HTTP
client and the checks of a server that the user names. Only `flows.adapters` and what lies below
`flows` is used; importing the package imports no Prefect.
"""
