"""What computes: one seam, several engines, one checkpoint reader under all of them."""
