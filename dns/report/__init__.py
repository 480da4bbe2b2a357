"""A report of a tested network: one HTML file that needs nothing else, and its figures as SVG, PDF and CSV.

study.py, verification.py, ranked.py    what a trial gives: numbers and ranked lists
embedding_map.py, saliency.py           t-SNE and where the network looks, with the extra `report`
chart.py -> svg.py, paper.py            a figure's numbers -> SVG of the page and the paper, PDF
html.py, thumbnails.py, page.py         the page
write.py                                joins all of them and writes; compare.py sets runs side by side
"""
