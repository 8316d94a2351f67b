"""Protocol classes only: what the core needs of the world, and what adapters may rely on."""
