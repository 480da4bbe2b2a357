"""Raw data set folder -> `.beton` and manifest. Knows files; knows no loader and no model."""
