"""The features that come with the product, one subject a file. Add a file, name it in catalogue.py, done."""
