"""What texts in older files stand for: the numbers TLC uses since. In lower case, without spaces around."""

from collections.abc import Mapping

# DDS ended in 2010, before TLC numbered its vendors.
VENDORS: Mapping[str, int] = {"cmt": 1, "vts": 2, "dds": 3}

PAYMENTS: Mapping[str, int] = {
    **dict.fromkeys(("credit", "cre", "crd"), 1),
    **dict.fromkeys(("cash", "cas", "csh"), 2),
    **dict.fromkeys(("no charge", "no", "noc"), 3),
    **dict.fromkeys(("dispute", "dis"), 4),
    **dict.fromkeys(("unknown", "unk", "na"), 5),
    **dict.fromkeys(("void", "voi", "voided trip"), 6),
}

FLAGS: Mapping[str, str | None] = {"0": "N", "1": "Y", "n": "N", "y": "Y", "*": None, "": None, "nan": None}
