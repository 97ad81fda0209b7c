"""Campaigns: sessions of many commits as tasks of a Ray cluster, their results as `track` leaves them.

`file` reads what is wanted, `plan` says which sessions are left, `run` keeps the cluster busy with them and
`home` takes what comes back into results/. `cluster` alone knows Ray; `node` and `session` run on its nodes.
"""
