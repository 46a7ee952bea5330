"""Other servers around the same model, each in a module that imports its packages, which are not ours."""
