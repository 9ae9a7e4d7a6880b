"""What is claimed, asked and found."""
