"""Made-up conversations for looking at the pages: `manage.py seed_demo`."""
