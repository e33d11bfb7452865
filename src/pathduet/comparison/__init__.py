"""What is compared with what: named models of every table, and how they are trained and looked up."""
