"""Where on a slide a model looked: prototypes, merge weights and attention of its tokens, mapped back to tiles."""
