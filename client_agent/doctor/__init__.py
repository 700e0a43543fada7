"""`hospintel-agent doctor`: looks at everything that a round needs, and says what to do where something is missing.

examine.py has the order of the checks; each module here has those of one subject. They ask the agent's own modules, so
that what the doctor finds is what a round would find.
"""
