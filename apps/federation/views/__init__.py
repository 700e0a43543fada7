"""The portal's pages of the federation."""
