"""TLC, the Taxi and Limousine Commission: where its files are, shared columns, what old texts stand for."""

from collections.abc import Mapping

from elt.catalogue import Column, Publisher
from elt.periods import Month

# A mirror, or a proxy with a password, is Airflow's connection of that name; scripts/up --source sets it.
TLC = Publisher(connection="taxi_source", base_url="https://d37ci6vzurychx.cloudfront.net")

IMPROVEMENT_SURCHARGE = Column(
    "improvement_surcharge", "float64", "Surcharge at flag drop, since 2015.", "USD", since=Month(2015, 1)
)
CONGESTION_SURCHARGE = Column(
    "congestion_surcharge", "float64", "New York State's surcharge, since 2019.", "USD", since=Month(2019, 1)
)
CBD_CONGESTION_FEE = Column(
    "cbd_congestion_fee", "float64", "Congestion relief zone charge, since 2025.", "USD", since=Month(2025, 1)
)

# Files of 2009 and 2010 have texts where TLC has had numbers since, spelt as each vendor's program did.
# Whatever their case and the spaces around them, here they are in lower case and without.

# DDS ended in 2010, before TLC numbered its vendors: 3 is free.
VENDORS: Mapping[str, int] = {"cmt": 1, "vts": 2, "dds": 3}

PAYMENTS: Mapping[str, int] = {
    **dict.fromkeys(("credit", "cre", "crd"), 1),
    **dict.fromkeys(("cash", "cas", "csh"), 2),
    **dict.fromkeys(("no charge", "no", "noc"), 3),
    **dict.fromkeys(("dispute", "dis"), 4),
    **dict.fromkeys(("unknown", "unk", "na"), 5),
    **dict.fromkeys(("void", "voi", "voided trip"), 6),
}

# A flag has been Y and N, 0 and 1, 0.0 and 1.0 with NaN for nothing, and an asterisk where it was lost.
FLAGS: Mapping[str, str | None] = {"0": "N", "1": "Y", "n": "N", "y": "Y", "*": None, "": None, "nan": None}
