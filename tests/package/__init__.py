"""What is published: which files, and whether they install and index where the app will run."""
