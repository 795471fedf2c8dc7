"""Epochs to 25 % training error with ReLU and with tanh (Figure 1).

experiment  trains the networks
curves      their training errors, and when these reach the target
"""
