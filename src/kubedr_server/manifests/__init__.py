"""Pure builders of the objects that the controllers want to exist."""
