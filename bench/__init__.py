"""The numbers of the README, each by one command: ``python -m bench``."""
