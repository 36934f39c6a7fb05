"""The report of a run: one HTML file that contains everything it shows.

`run_folder` reads what a run left on disk, `evidence` computes the statistics beyond the scores, `charts` draws, and
`page` fills `report.html.j2`, which holds all text of the page. `verdict_picture` draws the answer of noseprint verify.
"""
