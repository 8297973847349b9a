"""Notifications about how a flow run ended, by a notification block of Prefect's or an Apprise URL.

`notify.py` chooses the channels and sends; open it first. `message.py` writes the text. May use
`flows.adapters`, `flows.server` and `training`; Prefect and Apprise are imported where they are
used.
"""
