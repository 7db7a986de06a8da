"""Neural critics and the bounds that train and read them; needs torch."""
