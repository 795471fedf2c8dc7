"""AlexNet (Krizhevsky, Sutskever and Hinton, NIPS 2012) as it was trained."""

__version__ = '0.1.0'
