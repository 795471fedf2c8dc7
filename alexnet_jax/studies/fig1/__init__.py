"""Epochs to 25 % training error with ReLU and with tanh (Figure 1).

run     trains the networks
curves  their training errors, and when they reach the target
"""
