"""What we know of a customer: declarations, transforms, tables and stores. Imports nothing of ours."""
