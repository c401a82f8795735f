"""What people corrected: kept, found again, exchanged with other tools."""
