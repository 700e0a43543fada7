"""What other apps are told of people. The accounts app knows nothing of what they do with it."""

from django.dispatch import Signal

# Sent with `user`, `actor` and `by`, inside the transaction, when somebody else ends what a person may do:
# deactivates them, signs them out, changes their role or takes a hospital from them.
put_out = Signal()
