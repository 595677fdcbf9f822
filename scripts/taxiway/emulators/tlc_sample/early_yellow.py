"""Yellow trips as files of 2009 and 2010 have them: texts for codes and times, coordinates for zones."""

import numpy as np

from taxiway.emulators.tlc_sample.months import Month
from taxiway.emulators.tlc_sample.rides import Columns

_VENDORS = {1: "CMT", 2: "VTS", 6: "DDS"}
_PAYMENTS = {
    2009: {1: "Credit", 2: "CASH", 3: "No Charge", 4: "Dispute"},
    2010: {1: "CRE", 2: "CAS", 3: "NOC", 4: "DIS"},
}
_AMOUNTS = ("fare_amount", "extra", "mta_tax", "tip_amount", "tolls_amount")


def rewrite(columns: Columns, month: Month) -> None:
    """Add the year's columns to a month's."""
    vendor, payment = (_texts(columns[name], words) for name, words in _codes(month))
    pickup, dropoff = (
        np.datetime_as_string(columns[f"tpep_{end}_datetime"], "s").astype(object)
        for end in ("pickup", "dropoff")
    )
    times = [np.char.replace(moments.astype(str), "T", " ").astype(object) for moments in (pickup, dropoff)]
    start, end = (_coordinates(columns[name]) for name in ("PULocationID", "DOLocationID"))
    # There was no improvement surcharge yet.
    total = np.round(sum(columns[name] for name in _AMOUNTS), 2)
    kept = columns["store_and_fwd_flag"] == "Y"
    if month.year == 2009:
        columns |= {
            "vendor_name": vendor, "Trip_Pickup_DateTime": times[0], "Trip_Dropoff_DateTime": times[1],
            "Passenger_Count": columns["passenger_count"], "Trip_Distance": columns["trip_distance"],
            "Start_Lon": start[0], "Start_Lat": start[1], "End_Lon": end[0], "End_Lat": end[1],
            "Rate_Code": columns["RatecodeID"], "store_and_forward": kept.astype(float),
            "Payment_Type": payment, "Fare_Amt": columns["fare_amount"], "surcharge": columns["extra"],
            "Tip_Amt": columns["tip_amount"], "Tolls_Amt": columns["tolls_amount"], "Total_Amt": total,
        }  # fmt: skip
        columns["missing"] |= {"Rate_Code": ~kept, "store_and_forward": ~kept & (vendor == "VTS")}
        return
    columns |= {
        "vendor_id": vendor, "pickup_datetime": times[0], "dropoff_datetime": times[1],
        "pickup_longitude": start[0], "pickup_latitude": start[1], "dropoff_longitude": end[0],
        "dropoff_latitude": end[1], "rate_code": columns["RatecodeID"], "payment_type": payment,
        "surcharge": columns["extra"], "total_amount": total, "__index_level_0__": np.arange(len(total)),
        "store_and_fwd_flag": np.where(kept, "1", "0").astype(object),
    }  # fmt: skip


def _codes(month: Month) -> tuple[tuple[str, dict[int, str]], ...]:
    return (("VendorID", _VENDORS), ("payment_type", _PAYMENTS[month.year]))


def _texts(codes: np.ndarray, words: dict[int, str]) -> np.ndarray:
    return np.array([words[code] for code in codes.tolist()], dtype=object)


def _coordinates(zones: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return longitude and latitude of a place that stands for the zone; 0 and 0 for an unknown one."""
    known = zones < 264
    longitude = np.round(-74.02 + zones % 17 * 0.015, 6)
    latitude = np.round(40.60 + zones // 17 * 0.015, 6)
    return longitude * known, latitude * known
