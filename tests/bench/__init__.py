"""What is measured, and the bars it must meet."""
