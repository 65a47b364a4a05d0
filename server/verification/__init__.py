"""`tenantry verify-isolation`: whether tenants are kept apart here, tried from outside.

Two throw-away tenants get the same ids and names, and a word of their own, a canary, in every place
that can hold words. A server of this process, on the deployment's own stores and with its own
plugins, is then asked everything there is to ask, by both at once; whatever either can observe is
searched for the other's canaries. Everything that was made is removed.
"""
