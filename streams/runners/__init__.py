"""What drives the processors: fetch, step, commit.

::

  local  the embedded runner: one thread, state, outputs and position in one transaction
"""
