"""Parts of a slide that a model weighted: prototypes, merge weights and attention, mapped back to tiles."""
