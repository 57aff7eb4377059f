"""Units of measure, exact: each is a factor to the base units of its dimension.

Bases: metre, kilogram, second, kelvin, byte. Angles (in radians) and percentages are plain numbers.
"""

from dataclasses import dataclass
from fractions import Fraction
from unicodedata import normalize

# Exponents of length, mass, time, temperature, information.
type Dimension = tuple[int, int, int, int, int]

PLAIN: Dimension = (0, 0, 0, 0, 0)
LENGTH: Dimension = (1, 0, 0, 0, 0)
AREA: Dimension = (2, 0, 0, 0, 0)
VOLUME: Dimension = (3, 0, 0, 0, 0)
MASS: Dimension = (0, 1, 0, 0, 0)
TIME: Dimension = (0, 0, 1, 0, 0)
SPEED: Dimension = (1, 0, -1, 0, 0)
FREQUENCY: Dimension = (0, 0, -1, 0, 0)
FORCE: Dimension = (1, 1, -2, 0, 0)
PRESSURE: Dimension = (-1, 1, -2, 0, 0)
ENERGY: Dimension = (2, 1, -2, 0, 0)
POWER: Dimension = (2, 1, -3, 0, 0)
TEMPERATURE: Dimension = (0, 0, 0, 1, 0)
INFORMATION: Dimension = (0, 0, 0, 0, 1)

PI = Fraction("3.14159265358979323846264338327950288419716939937510582097")


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of `factor` base units. Temperatures are counted from `zero`, in base units."""

    symbol: str
    factor: Fraction
    dimension: Dimension
    zero: Fraction = Fraction(0)

    def times(self, other: "Unit") -> "Unit":
        dimension = tuple(a + b for a, b in zip(self.dimension, other.dimension, strict=True))
        return Unit(
            f"{self.symbol}·{other.symbol}", self.factor * other.factor, dimension_of(dimension)
        )

    def per(self, other: "Unit") -> "Unit":
        dimension = tuple(a - b for a, b in zip(self.dimension, other.dimension, strict=True))
        return Unit(
            f"{self.symbol}/{other.symbol}", self.factor / other.factor, dimension_of(dimension)
        )

    def power(self, exponent: int) -> "Unit":
        symbol = self.symbol + {2: "²", 3: "³"}.get(exponent, f"^{exponent}")
        return Unit(
            symbol, self.factor**exponent, dimension_of(tuple(a * exponent for a in self.dimension))
        )


def dimension_of(exponents: tuple[int, ...]) -> Dimension:
    length, mass, time, temperature, information = exponents
    return length, mass, time, temperature, information


INCH, POUND, GALLON = Fraction("0.0254"), Fraction("0.45359237"), Fraction("0.003785411784")
FOOT, MILE, LITRE = 12 * INCH, 63360 * INCH, Fraction(1, 1000)
POUND_FORCE, CALORIE = POUND * Fraction("9.80665"), Fraction("4.184")
DECIMAL_PREFIXES = (("k", "kilo"), ("M", "mega"), ("G", "giga"), ("T", "tera"), ("P", "peta"))
BINARY_PREFIXES = (("K", "kibi"), ("M", "mebi"), ("G", "gibi"), ("T", "tebi"), ("P", "pebi"))

# Dimension, symbol, factor to the base units, other names. Plurals in -s are added by `table`.
ROWS: list[tuple[Dimension, str, int | Fraction, str]] = [
    (LENGTH, "nm", Fraction(1, 10**9), "nanometre nanometer"),
    (LENGTH, "µm", Fraction(1, 10**6), "um micron micrometre micrometer mikrometer"),
    (LENGTH, "mm", Fraction(1, 1000), "millimetre millimeter millimètre milímetro millimetro"),
    (
        LENGTH,
        "cm",
        Fraction(1, 100),
        "centimetre centimeter zentimeter centimètre centímetro centimetro",
    ),
    (LENGTH, "dm", Fraction(1, 10), "decimetre decimeter"),
    (LENGTH, "m", 1, "metre meter mètre metro"),
    (
        LENGTH,
        "km",
        1000,
        "kms kilometre kilometer kilomètre kilómetro kilometro chilometro chilometri",
    ),
    (LENGTH, "in", INCH, "inch inches zoll"),
    (LENGTH, "ft", FOOT, "foot feet fuß ′"),
    (LENGTH, "yd", 3 * FOOT, "yard"),
    (LENGTH, "mi", MILE, "mile meile meilen milla miglia"),
    (LENGTH, "nmi", 1852, "nauticalmile"),
    (LENGTH, "ly", 9460730472580800, "lightyear"),
    (LENGTH, "au", 149597870700, "astronomicalunit"),
    (AREA, "m²", 1, "sqm squaremetre squaremeter quadratmeter"),
    (AREA, "cm²", Fraction(1, 10**4), "sqcm squarecentimetre squarecentimeter"),
    (AREA, "km²", 10**6, "sqkm squarekilometre squarekilometer"),
    (AREA, "ft²", FOOT**2, "sqft squarefoot squarefeet"),
    (AREA, "in²", INCH**2, "sqin squareinch squareinches"),
    (AREA, "mi²", MILE**2, "sqmi squaremile"),
    (AREA, "yd²", 9 * FOOT**2, "sqyd squareyard"),
    (AREA, "ha", 10**4, "hectare hektar"),
    (AREA, "acre", 4840 * 9 * FOOT**2, ""),
    (VOLUME, "l", LITRE, "L litre liter litro"),
    (VOLUME, "ml", LITRE / 1000, "cc millilitre milliliter millilitro mililitro"),
    (VOLUME, "cl", LITRE / 100, "centilitre centiliter"),
    (VOLUME, "dl", LITRE / 10, "decilitre deciliter"),
    (VOLUME, "m³", 1, "cubicmetre cubicmeter kubikmeter"),
    (VOLUME, "ft³", FOOT**3, "cubicfoot cubicfeet"),
    (VOLUME, "gal", GALLON, "gallon"),
    (VOLUME, "qt", GALLON / 4, "quart"),
    (VOLUME, "pt", GALLON / 8, "pint"),
    (VOLUME, "cup", GALLON / 16, ""),
    (VOLUME, "fl oz", GALLON / 128, "floz fluidounce"),
    (VOLUME, "tbsp", GALLON / 256, "tablespoon"),
    (VOLUME, "tsp", GALLON / 768, "teaspoon"),
    (MASS, "µg", Fraction(1, 10**9), "ug microgram"),
    (MASS, "mg", Fraction(1, 10**6), "milligram milligramm"),
    (MASS, "g", Fraction(1, 1000), "gram gramm gramme gramo grammo grammi"),
    (MASS, "kg", 1, "kgs kilo kilogram kilogramm kilogramme kilogramo chilo chili"),
    (MASS, "t", 1000, "tonne metricton"),
    (MASS, "ton", 2000 * POUND, "shortton"),
    (MASS, "lb", POUND, "lbs pound pfund"),
    (MASS, "oz", POUND / 16, "ounce unze unzen"),
    (MASS, "st", 14 * POUND, "stone"),
    (TIME, "ns", Fraction(1, 10**9), "nanosecond"),
    (TIME, "µs", Fraction(1, 10**6), "us microsecond"),
    (TIME, "ms", Fraction(1, 1000), "millisecond"),
    (TIME, "s", 1, "sec secs second sekunde sekunden seconde segundo secondo secondi"),
    (TIME, "min", 60, "mins minute minuten minuto minuti"),
    (TIME, "h", 3600, "hr hrs hour stunde stunden heure hora ora ore"),
    (TIME, "day", 86400, "tag tage tagen jour día giorno giorni"),
    (TIME, "week", 7 * 86400, "wk wks woche wochen semaine semana"),
    (TIME, "month", Fraction("2629746"), ""),
    (TIME, "year", Fraction("31556952"), "yr yrs"),
    (SPEED, "km/h", Fraction(5, 18), "kmh kph km/hr"),
    (SPEED, "mph", MILE / 3600, ""),
    (SPEED, "kn", Fraction(1852, 3600), "knot knots kt kts"),
    (FREQUENCY, "Hz", 1, "hertz"),
    (FREQUENCY, "kHz", 1000, "kilohertz"),
    (FREQUENCY, "MHz", 10**6, "megahertz"),
    (FREQUENCY, "GHz", 10**9, "gigahertz"),
    (FORCE, "N", 1, "newton"),
    (FORCE, "lbf", POUND_FORCE, ""),
    (PRESSURE, "Pa", 1, "pascal"),
    (PRESSURE, "hPa", 100, "hectopascal"),
    (PRESSURE, "kPa", 1000, "kilopascal"),
    (PRESSURE, "bar", 10**5, ""),
    (PRESSURE, "mbar", 100, "millibar"),
    (PRESSURE, "atm", 101325, "atmosphere"),
    (PRESSURE, "psi", POUND_FORCE / INCH**2, ""),
    (PRESSURE, "mmHg", Fraction("133.322387415"), ""),
    (ENERGY, "J", 1, "joule"),
    (ENERGY, "kJ", 1000, "kilojoule"),
    (ENERGY, "cal", CALORIE, "calorie"),
    (ENERGY, "kcal", 1000 * CALORIE, "kilocalorie"),
    (ENERGY, "Wh", 3600, "watthour"),
    (ENERGY, "kWh", 3600 * 10**3, "kilowatthour"),
    (ENERGY, "MWh", 3600 * 10**6, "megawatthour"),
    (ENERGY, "BTU", Fraction("1055.05585262"), "btu"),
    (ENERGY, "eV", Fraction("1.602176634e-19"), "electronvolt"),
    (POWER, "W", 1, "watt"),
    (POWER, "kW", 1000, "kilowatt"),
    (POWER, "MW", 10**6, "megawatt"),
    (POWER, "hp", 550 * FOOT * POUND_FORCE, "horsepower"),
    (POWER, "PS", Fraction("735.49875"), ""),
    (INFORMATION, "bit", Fraction(1, 8), ""),
    (INFORMATION, "B", 1, "byte"),
    *[
        (INFORMATION, f"{prefix}B", 1000**power, f"{prefix.lower()}b {name}byte")
        for power, (prefix, name) in enumerate(DECIMAL_PREFIXES, start=1)
    ],
    *[
        (INFORMATION, f"{prefix}bit", Fraction(1000**power, 8), f"{name}bit {prefix.upper()}b")
        for power, (prefix, name) in enumerate(DECIMAL_PREFIXES, start=1)
    ],
    *[
        (INFORMATION, f"{prefix}iB", 1024**power, f"{prefix.lower()}ib {name}byte")
        for power, (prefix, name) in enumerate(BINARY_PREFIXES, start=1)
    ],
    (PLAIN, "°", PI / 180, "deg degree"),
    (PLAIN, "rad", 1, "radian"),
    (PLAIN, "dozen", 12, "dutzend"),
]

# Temperatures: symbol, factor, zero, all names.
SCALES = [
    ("°C", Fraction(1), Fraction("273.15"), "°C C c celsius centigrade degc °celsius °centigrade"),
    (
        "°F",
        Fraction(5, 9),
        Fraction("273.15") - 32 * Fraction(5, 9),
        "°F F f fahrenheit degf °fahrenheit",
    ),
    ("K", Fraction(1), Fraction(0), "K kelvin kelvins °K °kelvin"),
]


def table() -> dict[str, Unit]:
    """Return the units by all their names."""
    units: dict[str, Unit] = {}
    for dimension, symbol, factor, others in ROWS:
        unit = Unit(symbol, Fraction(factor), dimension)
        units[normalize("NFKC", symbol)] = unit
        for name in others.split():
            units[name] = unit
            if len(name) > 3:
                units.setdefault(f"{name}s", unit)
        if symbol.isalpha() and len(symbol) > 2:
            units.setdefault(f"{symbol}s", unit)
    for symbol, factor, zero, names in SCALES:
        units |= dict.fromkeys(names.split(), Unit(symbol, factor, TEMPERATURE, zero))
    return units


UNITS = table()
_BY_LOWER = {name.lower(): unit for name, unit in reversed(UNITS.items())}


def unit_named(name: str) -> Unit | None:
    """Return the unit of this name, or None.

    Wrong capitals are accepted unless they could turn milli into mega: mW is not MW.
    """
    if unit := UNITS.get(name):
        return unit
    if len(name) < 2 or name.lower() in {"mw", "mwh"}:
        return None
    could_be_prefix = (
        name[0] in "mMpP" and len(name) == 2 and not name.isupper() and not name.islower()
    )
    return None if could_be_prefix else _BY_LOWER.get(name.lower())
