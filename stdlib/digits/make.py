"""Writes digits.csv.gz beside this file, from an installed scikit-learn.

    pip install scikit-learn && python stdlib/digits/make.py

The file is copied byte for byte from the package (sklearn/datasets/data/digits.csv.gz): 1797 lines
of 64 pixel values 0..16 and a label 0..9, without a header line.
"""

import gzip
import pathlib
import sys
from importlib import resources

packed = resources.files("sklearn.datasets.data").joinpath("digits.csv.gz").read_bytes()
rows = [line.split(",") for line in gzip.decompress(packed).decode("ascii").split()]
total = sum(float(value) for row in rows for value in row[:64])
if len(rows) != 1797 or any(len(row) != 65 for row in rows) or total != 561718:
    sys.exit("this is not the table we know: 1797 rows of 65 numbers, pixels adding up to 561718")
target = pathlib.Path(__file__).with_name("digits.csv.gz")
target.write_bytes(packed)
print(f"{target}: {len(packed)} bytes")
