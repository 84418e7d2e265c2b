"""The service behind the load balancer: takes what a rule posts and writes one row per message.

A placeholder: nothing runs here yet. The package exists so that the distribution's two import packages are fixed from
the first release.
"""
