"""Which datasets there are, as the config names them. Not what is in them."""

from dataclasses import dataclass
from typing import Literal

Layer = Literal["synthetic", "real"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSource:
    """One dataset's file (relative to the config), and which layer of evidence it is.

    `floor` is the share of right answers below which a model will not do, None: it is only compared with the
    current model. `judge` names the model that gives marks, as `provider/model`.
    """

    name: str
    file: str
    layer: Layer
    floor: float | None = None
    judge: str | None = None
