"""The app of the models that pages declare, while test_docs.py runs their code."""
