"""What people do with results: ask, compare, export, and clear away what no study needs any more."""
