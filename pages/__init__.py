"""Every report and page for people.

`document` is a report as a value: sentences, tables and drawings in sections. `writers` writes one as text,
Markdown or HTML. `reports` has a module a report, `status` what is told of a canary that runs, `words` the
sentences and numbers, `charts` and `waterfall` the drawings. No package here imports its own modules, because
a server's threads do.
"""
