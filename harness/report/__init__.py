"""What ran, on which target, with what result."""
