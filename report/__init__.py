"""What spans both questions: the table in the README, and later the report."""
