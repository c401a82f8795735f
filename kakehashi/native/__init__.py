"""What torch has no fast operation for, in C: compiled on this machine when first needed, if it has a compiler."""
