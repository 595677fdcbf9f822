"""The usual few lines: get the file into memory, put it into the bucket."""

import sys

import requests
from timing import timed

with timed():
    content = requests.get(sys.argv[1], timeout=600).content
    requests.put(sys.argv[2], data=content, timeout=600).raise_for_status()
