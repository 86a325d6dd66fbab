"""Models of the background behind the objects, too simple to draw objects, behind one protocol (`base.Background`)."""
