"""A long run in which everything goes wrong at times: `nox -s soak`.

Processes of readers and writers work in hundreds of organizations, while the owner ends their
connections, suspends and fences organizations, makes and purges others, and restarts the
server. Each row carries the id of its organization, its mark; whoever reads looks at the mark of
every row. At the end the owner looks at every table, at what was acknowledged, at connections
and at memory.
"""
