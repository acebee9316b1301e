"""What both questions share: data, networks, figures, results files."""
