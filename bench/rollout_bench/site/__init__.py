"""The site over results/: a front page, a page for each change point, asv's own pages beside them.

`data` turns results into plain objects, `pages` writes files, `asv_pages` brings in what asv and
asv-tachyon make. static/ holds the pages' own code. Everything works from file://.
"""
