"""The report of a campaign: one HTML file that holds all it shows.

`folders` reads what the trainings left, `evidence` what the test labels say beyond the scores; `results`, `made`,
`calibrated` and `words` make the sections of it, `charts` draws, `page` puts it on a page.
"""
