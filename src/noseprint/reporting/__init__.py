"""The reports: each is one HTML file that contains everything it shows.

Of nose prints: `run_folder` reads what a run left on disk, `evidence` computes the statistics beyond the scores, and
`page` fills `report.html.j2`, which holds all text of the page. Of classes: `class_run`, `class_page` and
`class_report.html.j2`. `charts` draws for both. `review_page` makes the page on which a person decides about suspect
labels. `verdict_picture` draws the answer of noseprint verify.
"""
