"""Reports on a tested network: one HTML file that needs nothing else, and its figures as SVG, PDF and CSV.

subject.py          what a report is about: a network, its embeddings and its rankings; milliseconds an image
study.py            what the rankings give: AP by query and by pair of cameras, similarities, ROC and thresholds
ranked.py           queries to look at, with their nearest images: as lists, as a table, as one picture
embedding_map.py    t-SNE, with the extra `report`
saliency.py         where the network looks (Grad-CAM), with the extra `report`
figures.py          a figure's numbers: charts, grids, CSV
svg.py, paper.py    a figure's numbers -> SVG of the page and of the paper; PDF, with the extra `report`
html.py, page.py    pieces of HTML; the page, and its parts while it is made
sections.py         the sections of a report, and their order
write.py            joins all of them and writes
compare.py          sets runs side by side: python -m dns.report
"""
