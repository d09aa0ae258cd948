"""What admins do to accounts, runs and stored files: suspension, run actions, retention, garbage collection."""
