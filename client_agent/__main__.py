"""`python -m client_agent` is `hospintel-agent`."""

from client_agent.cli import main

if __name__ == "__main__":
    main()
