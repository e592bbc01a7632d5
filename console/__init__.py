"""The operator's page and admin API: routes, who may use them, and what they answer.

app        the admin listener's app
api        the JSON API under `/api/`
page       the read-only pages of the canaries; `history`, `captures`, `datasets`, `issues` are the others
orders     the route that takes orders from the page's forms
rendering  templates and reports into responses
access/    sign-in, sessions, and what a role may do
"""
