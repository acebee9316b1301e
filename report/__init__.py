"""What reads the results: the report, the gallery, the table in the README, the verification."""
