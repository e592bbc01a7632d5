"""What is done by the clock.

`reports`           daily reports, and what the receivers are told
`segment_job`       stored outcomes become files and expire
`drift`             what models call themselves, and whether they answer as they did
`watcher`           looks for new models and for those that retire
`model_news`        the watcher's memory
`release_metrics`   releases for Prometheus
"""
