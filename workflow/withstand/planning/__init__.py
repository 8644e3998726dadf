"""What a study costs before it runs, and how far a run is."""
