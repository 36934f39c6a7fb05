"""The report of a campaign: one HTML file that holds all it shows.

`campaign` reads what the folders left, `pairs` and `retrieval` what the test labels say, `charts` draws, `page` puts
it on a page.
"""
