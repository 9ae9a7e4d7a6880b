"""All kinds of modules, in the order of the page."""

from tests.zoo import attention, generative, made, recurrent, signals, vision
from tests.zoo.rows import Row

FILES = (recurrent.ROWS, attention.ROWS, generative.ROWS, vision.ROWS, signals.ROWS, made.ROWS)
ROWS: tuple[Row, ...] = tuple(row for rows in FILES for row in rows.rows)
