"""The last 1,000 traces of one mesh: received as OTLP, kept in a journal on disk, shown as trees."""
