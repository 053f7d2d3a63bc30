"""Market data in files and databases: one module a format, whose rows all turn into the same ticks and candles."""
