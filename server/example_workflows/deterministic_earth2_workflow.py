"""An example workflow in Earth2Studio's own manner: a deterministic forecast, by default one that needs no download.

Where Earth2Studio is not installed, it registers nothing.
"""

from collections import OrderedDict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pkgutil import resolve_name
from typing import Annotated, Any

import numpy as np
from earth2studio.serve.server import Earth2Workflow, WorkflowRegistry
from pydantic import Field

PERSISTENCE = "earth2studio.models.px.Persistence"
RANDOM = "earth2studio.data.Random"


class DeterministicEarth2Workflow(Earth2Workflow):
    """One forecast from each start time, by a prognostic model of Earth2Studio."""

    name = "deterministic_earth2_workflow"
    description = "Deterministic forecast with a prognostic model of Earth2Studio"

    def __init__(
        self,
        model: str = PERSISTENCE,
        data: str = RANDOM,
        variables: list[str] = ["t2m", "u10m", "v10m", "msl"],  # noqa: B006 - never changed; it is the schema's default
        resolution: float = 5.0,
        device: str | None = None,
    ) -> None:
        """Load the model, once for all requests.

        Parameters
        ----------
        model, data
            Dotted names of a prognostic model and a data source. Any other model is loaded with its default package.
        variables, resolution
            What `Persistence` forecasts, and the spacing of its and `Random`'s grid in degrees; other models and
            sources have their own.
        device
            Where to compute, such as ``cuda:1``; by default the first GPU, if there is one.
        """
        super().__init__()
        grid = global_grid(resolution)
        self.device = device
        found = resolve_name(model)
        self.model = found(variables, grid) if model == PERSISTENCE else load(found)
        self.data = resolve_name(data)(grid) if data == RANDOM else resolve_name(data)()

    def __call__(
        self,
        io: Any,
        start_time: Annotated[list[datetime], Field(min_length=1)] = [datetime(2024, 1, 1)],  # noqa: B006, DTZ001 - as above
        num_steps: int = 6,
        variables: list[str] | None = None,
    ) -> None:
        """Forecast `num_steps` steps of the model from each start time (UTC), and write `variables`, or all."""
        from earth2studio import run

        times = [time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time for time in start_time]
        chosen = OrderedDict({"variable": np.array(variables)} if variables else {})
        run.deterministic(
            times, num_steps, self.model, self.data, io, output_coords=chosen, device=self.device, verbose=False
        )


def global_grid(resolution: float) -> OrderedDict[str, np.ndarray]:
    """Return latitudes from north to south and longitudes from Greenwich eastward, in degrees."""
    latitudes = np.linspace(90, -90, round(180 / resolution) + 1)
    return OrderedDict(lat=latitudes, lon=np.linspace(0, 360, round(360 / resolution), endpoint=False))


def load(model: Any) -> Any:
    """Load a model with its default package, which may have to be downloaded."""
    return model.load_model(model.load_default_package())


# Nothing of PyTorch is imported before a model is constructed: a service that only takes requests does without.
try:
    version("earth2studio")
except PackageNotFoundError:
    NO_WORKFLOW_BECAUSE = "Earth2Studio is not installed"
else:
    WorkflowRegistry.instance().register(DeterministicEarth2Workflow)
