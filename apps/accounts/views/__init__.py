"""The pages of people: signing in, the own account, and for administrators everybody."""
