"""The experiment file: schema, reading, validation and search spaces."""
