"""Who may come in.

HTTP as bytes, request ids, the token, the policy, the limits, the body, in the order in which a request meets them.
"""
