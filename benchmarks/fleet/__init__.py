"""The fleet: what a node costs that looks after its engine beside forty-nine others, and how soon it acts."""
