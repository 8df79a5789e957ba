"""One script per figure or table: a frozen dataclass of settings, tyro, and a main."""
