"""Where a run can take place: the targets, what they can do, and how a client reaches them.

`TARGETS` lists the targets that exist; a target is a choice and never falls back to another. Of the stand-in this
package knows only the command lines of its processes and the ready file.
"""
