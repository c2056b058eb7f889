"""The HTTP service and the journey runner: a folder a slice, the same file names in each."""
