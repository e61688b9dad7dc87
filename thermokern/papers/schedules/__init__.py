"""What optimal schedules buy, in bounds and in samples: no paper's experiment, but this package's own."""
