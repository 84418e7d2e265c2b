"""MQTT 3.1.1 and 5 without I/O: packets, codec, topics, subscription tree, sessions, broker.

Bytes, values and a time passed in; never a socket, a clock or a random number. Standard library only.
"""
