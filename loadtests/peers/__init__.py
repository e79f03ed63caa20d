"""What the project is measured against, side by side, in the same run."""
