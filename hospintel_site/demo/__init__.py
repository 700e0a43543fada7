"""`make demo`: a hub and its hospitals on one machine, as their users would start them."""
