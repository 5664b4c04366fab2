"""`sf doctor`: looks at the whole project from outside, read-only, and mends what is safe to mend.

A check is a function from what can be looked at (`look`) to findings; the table of all of them is
in `examination`. A module a family. Not here: the server's own repairs, which need nobody's asking.
"""
