"""Problems whose states and actions can be listed."""
