"""Notifications of accounts: emails and signed webhooks.

`outbox` is written in the transaction of the event; `dispatcher` does the rest in its own threads, so that no run and
no request waits for a mail server or a webhook.
"""
