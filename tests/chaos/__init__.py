"""Campaigns that break the product on purpose, judged from outside: `python -m tests.chaos`."""
