"""Two norms in a population: payoffs, mean fields, exact chains and simulations of imitation.

Strategies are 0 = A and 1 = B; a share is that of B unless said otherwise. Rules and numbers are
those of the released code of De, Nau and Gelfand (arXiv 1704.04720), as far as they could be read,
and algebra of our own; the text of arXiv 1804.07406, on tipping points, could not be read, and
what is here of conformity is a reconstruction.
"""
