"""`python -m gatekeeper`."""

from gatekeeper.cli import start

if __name__ == "__main__":
    start()
