"""A result as one of Earth2Studio's prognostic models. Importing this needs Earth2Studio and PyTorch."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Literal, Self

import numpy as np
import torch
from earth2studio.data import InferenceOutputSource, fetch_data
from earth2studio.models.auto import AutoModelMixin
from earth2studio.models.px.utils import PrognosticMixin

CoordSystem = OrderedDict[str, np.ndarray[Any, Any]]
"""Earth2Studio's coordinate systems: each dimension of a tensor with its values, in order."""

STEP_OF_ONE = np.timedelta64(6, "h")
"""The step that a result with a single time is said to have."""


class InferenceOutputModel(AutoModelMixin, PrognosticMixin):  # type: ignore[misc]  # Earth2Studio has no types
    """A model that "predicts" what an execution has computed already, for workflows that take a prognostic model.

    Parameters
    ----------
    data_source
        The result.
    iter_coord
        The coordinate that counts the steps: valid ``time``, or ``lead_time`` since the first one.
    variables
        Which variables to yield; all if None.
    device
        Where the tensors go.
    """

    def __init__(
        self,
        data_source: InferenceOutputSource,
        iter_coord: Literal["time", "lead_time"] = "lead_time",
        variables: list[str] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.data_source = data_source
        self.iter_coord = iter_coord
        self.variables = np.array(data_source.da.coords["variable"] if variables is None else variables)
        self.device = device

    def input_coords(self) -> CoordSystem:
        """Return the coordinates of the input, of which there is none."""
        return OrderedDict(
            batch=np.empty(0),
            time=np.empty(0),
            lead_time=np.array([np.timedelta64(0, "h")]),
            variable=np.array([]),
            lat=np.empty(0),
            lon=np.empty(0),
        )

    def output_coords(self, input_coords: CoordSystem) -> CoordSystem:
        """Return the coordinates of what each step yields; `input_coords` does not matter."""
        del input_coords
        coords = self.data_source.da.coords
        times = coords["time"].values[:2]
        step = times[1] - times[0] if len(times) > 1 else STEP_OF_ONE
        return OrderedDict(
            batch=np.empty(0),
            time=np.empty(0),
            lead_time=np.array([step]),
            variable=self.variables,
            lat=coords["lat"].values,
            lon=coords["lon"].values,
        )

    def to(self, device: torch.device | str) -> Self:
        """Put the tensors on another device."""
        self.device = device
        return self

    def __call__(
        self, x: torch.Tensor | None = None, coords: CoordSystem | None = None
    ) -> tuple[torch.Tensor, CoordSystem]:
        """Return the first step; the input does not matter."""
        return next(self.create_iterator(x, coords))

    def create_iterator(
        self, x: torch.Tensor | None = None, coords: CoordSystem | None = None
    ) -> Iterator[tuple[torch.Tensor, CoordSystem]]:
        """Yield one step after the other, each read when it is asked for; the input does not matter."""
        del x, coords
        times = self.data_source.da.coords["time"].values
        for time in times:
            step, place = fetch_data(
                self.data_source, time=np.array([time]), variable=self.variables, device=self.device
            )
            if self.iter_coord == "lead_time":
                # One time and one lead time either way, so the tensor stays as it is.
                place = OrderedDict(place, time=times[:1], lead_time=np.array([time - times[0]]))
            yield step, place
