"""How citation networks grow, and what shapes the citations of a paper take over the years."""
