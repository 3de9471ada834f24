"""What commands share: exit statuses and signals (`status`), lines and tables on a terminal (`terminal`).

Comes in: the work of a command, texts of users.
Goes out: an exit status, and never a traceback for what a user did.
Import from here: both modules; `status` loads nothing large, so that it can stand before torch.
"""
