"""Forms in which tools write the features of a slide's tiles, one file a form."""
