"""Units of measurement as they are written: spellings come in, a dimension and a factor go out."""

from decimal import Decimal

TABLE = """
length 1 m metre metres meter meters 米
length 0.001 mm millimetre millimetres millimeter millimeters 毫米
length 0.01 cm centimetre centimetres centimeter centimeters 厘米
length 1000 km kilometre kilometres kilometer kilometers 公里 千米
length 0.0254 in inch inches
length 0.3048 ft foot feet
length 0.9144 yd yard yards
length 1609.344 mi mile miles
mass 1 kg kilogram kilograms kilo kilos 公斤 千克
mass 0.001 g gram grams 克
mass 0.000001 mg milligram milligrams
mass 1000 t tonne tonnes 吨
mass 0.45359237 lb lbs pound pounds
time 1 s sec second seconds 秒
time 60 min minute minutes 分钟
time 3600 h hour hours 小时
time 86400 day days 天
area 1 m2 平方米
area 10000 ha hectare hectares 公顷
area 1000000 km2 平方公里
area 4046.8564224 acre acres
"""
UNITS = {
    spelling: (line.split()[0], Decimal(line.split()[1]))
    for line in TABLE.strip().splitlines()
    for spelling in line.split()[2:]
}
"""Spelling -> (dimension, factor to the first unit of the dimension)."""


def shared_scale(first: str, second: str) -> tuple[Decimal, Decimal] | None:
    """Factors that bring amounts in two units to one scale; a missing unit takes the other's. None: not comparable."""
    if first == second or not (first and second):
        return Decimal(1), Decimal(1)
    a, b = UNITS.get(first), UNITS.get(second)
    if a is None and b is None:
        return Decimal(1), Decimal(1)  # two wordings that no table has are taken for one: inhabitants, inhabitants per km2
    return (a[1], b[1]) if a and b and a[0] == b[0] else None
