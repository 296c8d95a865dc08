"""How the schema came to be, revision by revision, and the program's own way to run them."""
