"""Remote workflows, called like functions, whose results are opened as datasets."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, Self

from api_client._failures import translated
from api_client.client import Earth2StudioClient
from api_client.exceptions import Earth2StudioAPIError
from api_client.models import InferenceRequest, InferenceRequestResults

if TYPE_CHECKING:
    import torch
    import xarray as xr
    from earth2studio.data import InferenceOutputSource

    from api_client._output_model import InferenceOutputModel

__all__ = ["InferenceOutputModel", "RemoteEarth2Workflow", "RemoteEarth2WorkflowResult"]


class RemoteEarth2Workflow:
    """A workflow on a server, to be called with its parameters.

    Parameters
    ----------
    base_url
        The server's address.
    workflow_name
        The workflow's name.
    device
        Where `RemoteEarth2WorkflowResult.as_model` puts its tensors; None for ``cuda`` where there is one, else
        ``cpu``.
    xr_args
        For ``xarray.open_zarr`` and ``xarray.open_dataset``. ``storage_options`` has no effect: requests carry the
        client's token and timeout as they are.
    **client_kwargs
        For `Earth2StudioClient`.
    """

    def __init__(
        self,
        base_url: str,
        workflow_name: str,
        device: "str | torch.device | None" = None,
        xr_args: dict[str, Any] | None = None,
        **client_kwargs: Any,
    ) -> None:
        self.base_url = base_url
        self.client = Earth2StudioClient(base_url=base_url, workflow_name=workflow_name, **client_kwargs)
        self.workflow_name = workflow_name
        self.xr_args = dict(xr_args or {})
        self._device = device

    def __repr__(self) -> str:
        return f"RemoteEarth2Workflow({self.base_url!r}, {self.workflow_name!r})"

    def __call__(self, **kwargs: Any) -> "RemoteEarth2WorkflowResult":
        """Submit a request with these parameters; what is returned waits for it when it is used.

        Raises
        ------
        Earth2StudioAPIError
            As `Earth2StudioClient.submit_inference_request`.
        """
        submitted = self.client.submit_inference_request(InferenceRequest(parameters=kwargs))
        return RemoteEarth2WorkflowResult(self, submitted.execution_id)

    @property
    def device(self) -> "str | torch.device":
        """Where tensors go."""
        if self._device is None:
            # Asked for when it is needed: only tensors need PyTorch, and importing it takes seconds.
            self._device = "cuda" if find_spec("torch") and _torch().cuda.is_available() else "cpu"
        return self._device

    @device.setter
    def device(self, device: "str | torch.device") -> None:
        self._device = device

    def to(self, device: "torch.device | str") -> Self:
        """Put the tensors of later results on another device."""
        self.device = device
        return self


class RemoteEarth2WorkflowResult:
    """An execution and, once it has completed, its results. Each method waits for that.

    Parameters
    ----------
    workflow
        Whose execution it is.
    execution_id
        ``exec_<unix seconds>_<8 hex>``, as a call of `workflow` returned it, in this process or another.
    """

    def __init__(self, workflow: RemoteEarth2Workflow, execution_id: str) -> None:
        self.workflow = workflow
        self.execution_id = execution_id
        self._result: InferenceRequestResults | None = None

    def __repr__(self) -> str:
        return f"RemoteEarth2WorkflowResult({self.workflow!r}, {self.execution_id!r})"

    def as_dataset(self, path: str | None = None) -> "xr.Dataset":
        """Open a dataset lazily, wherever it is stored: values are read when they are used.

        A signed URL that ends meanwhile is renewed.

        Parameters
        ----------
        path
            One of `InferenceRequestResults.result_paths`, with or without the execution's id; the first if None.

        Raises
        ------
        Earth2StudioAPIError
            If the execution has no results, there is nothing in them to open, or nothing of that path.
        ReadError
            If it cannot be read.
        ImportError
            If it is a netCDF file and the extra ``netcdf`` is not installed.
        """
        import xarray as xr

        result = self._get_result()
        chosen = _chosen(result, path)
        with translated():
            files = self.workflow.client.as_wildcast(result)
            mapper = files.mapper(chosen)
        options = {name: value for name, value in self.workflow.xr_args.items() if name != "storage_options"}
        if chosen.endswith(".nc"):
            return files.open_dataset(chosen, **options)
        opened: xr.Dataset = xr.open_zarr(mapper, **{"consolidated": True, **options})
        return opened

    def as_data_source(self, path: str | None = None) -> "InferenceOutputSource":
        """Open a dataset as one of Earth2Studio's data sources.

        Parameters
        ----------
        path
            As `as_dataset`.

        Raises
        ------
        ImportError
            If Earth2Studio is not installed.
        Earth2StudioAPIError, ReadError
            As `as_dataset`.
        """
        source = _from_earth2studio("earth2studio.data", "InferenceOutputSource", "as_data_source")
        return source(self.as_dataset(path))

    def as_model(
        self, iter_coord: Literal["time", "lead_time"] = "lead_time", path: str | None = None
    ) -> "InferenceOutputModel":
        """Open a dataset as one of Earth2Studio's prognostic models, which yields a time step at a time.

        Parameters
        ----------
        iter_coord
            The coordinate that counts the steps.
        path
            As `as_dataset`.

        Raises
        ------
        ImportError
            If Earth2Studio is not installed.
        Earth2StudioAPIError, ReadError
            As `as_dataset`.
        """
        kind: type[InferenceOutputModel] = _from_earth2studio(
            "api_client._output_model", "InferenceOutputModel", "as_model"
        )
        return kind(data_source=self.as_data_source(path), iter_coord=iter_coord, device=self.workflow.device)

    def _get_result(self) -> InferenceRequestResults:
        if self._result is None:
            self._result = self.workflow.client.wait_for_completion(self.execution_id)
        return self._result


def _chosen(result: InferenceRequestResults, path: str | None) -> str:
    there = result.result_paths()
    if not there:
        raise Earth2StudioAPIError(
            f"{result.request_id} has neither a zarr store nor a netCDF file to open; see its output_files."
        )
    if path is None:
        return there[0]
    prefix = f"{result.request_id}/"
    wanted = path.strip("/").removeprefix(prefix)
    for found in there:
        if found.removeprefix(prefix) == wanted:
            return found
    raise Earth2StudioAPIError(f"{result.request_id} has no {wanted!r} to open; name one of {there}.")


def _torch() -> Any:
    return import_module("torch")


def _from_earth2studio(module: str, name: str, wanted: str) -> Any:
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        raise ImportError(
            f"{wanted} needs Earth2Studio and PyTorch: pip install earth2studio ({error}). as_dataset needs neither."
        ) from error


def __getattr__(name: str) -> Any:
    # The model's base classes are Earth2Studio's, and everything else here works without it.
    if name != "InferenceOutputModel":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _from_earth2studio("api_client._output_model", name, name)
