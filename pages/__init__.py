"""Every report and page for people.

`document` is a report as a value: sentences, tables and drawings in sections. `text`, `markdown` and `html`
write one. `reports` has a module a report, `status` what is told of a canary that runs, `words` the sentences
and numbers, `charts` the drawings. No package here imports its own modules, because a server's threads do.
"""
