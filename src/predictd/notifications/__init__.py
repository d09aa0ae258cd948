"""What accounts are told: e-mails and signed webhooks.

`outbox` is written in the transaction of what happened; `courier` does all else beside the server, so that no run and
no request waits for a mail server or for somebody's webhook.
"""
