"""The report's pictures: bars by scene, a chart of scenes over machines and time, thumbnails.

`timeline.py` computes when scenes waited and ran, `charts.py` has what all plots share; open that
first. Matplotlib and Pillow are imported when the first picture is drawn.
"""

FEWEST_FOR_PLOTS = 2
"""Of a single scene the table says everything."""
