"""The pages for people: what came in, what became of it, and the forms to try it out."""
