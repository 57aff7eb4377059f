"""TeX as MathML, or as its source."""
