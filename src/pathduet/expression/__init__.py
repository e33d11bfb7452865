"""Gene expression: tables, units, alignment, gene sets, highly variable genes and the matrix of a fold."""
