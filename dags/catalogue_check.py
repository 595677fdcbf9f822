"""No DAG: an import error of this file names the entries that the catalogue had to leave out, and why.

All other DAG files go on without them. (Airflow reads only files with the words "airflow" and "dag".)
"""

from elt.catalogue.registry import PROBLEMS
from elt.errors import InvalidDatasetError

if PROBLEMS:
    raise InvalidDatasetError("\n".join(str(problem) for problem in PROBLEMS))
