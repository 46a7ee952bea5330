"""Orange juice at Dominick's: known elasticities, and learned prices on held-out weeks."""
