from .frames import exact as exact
from .frames import near as near
from .frames import semantic as semantic

__all__: list[str]
