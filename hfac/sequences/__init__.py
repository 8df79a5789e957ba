"""Problems over whole sequences, without discount, relative to a reference policy."""
