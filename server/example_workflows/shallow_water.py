"""An example workflow: a forecast with the rotating shallow-water equations on the sphere, in NumPy alone.

The flow is the barotropically unstable jet of J. Galewsky, R. K. Scott and L. M. Polvani (2004): An initial-value
problem for testing numerical models of the global shallow-water equations. Tellus A 56, 429-440. The equations and the
scheme are in docs/shallow-water.md.

Fields on the grid have the shape ``(..., latitude, longitude)``, from south to north and from 0 eastward. Spectra have
the shape ``(order m, degree l, ...)`` and are zero where l < m. A state is a spectrum of three: vorticity and
divergence (1/s) and depth (metres).
"""

import math
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, Field

from wildcast_server import RunContext, Workflow

Grid = NDArray[np.floating[Any]]
Spectrum = NDArray[np.complex128]

SOUTH, NORTH = np.pi / 7, np.pi / 2 - np.pi / 7
"""The jet's edges, in radians."""
RADIUS = 6.37122e6
"""The earth's, in metres. All of these numbers are those of Galewsky et al. (2004), section 2."""
OMEGA = 7.292e-5
"""The earth's rotation, in radians a second."""
GRAVITY = 9.80616
"""In metres a second squared."""
MEAN_DEPTH = 10_000.0
"""Of the layer without its perturbation, in metres."""

HOUR = 3600.0
"""In seconds."""

VARIABLES = {
    "u": ("m s-1", "eastward_wind", "eastward velocity"),
    "v": ("m s-1", "northward_wind", "northward velocity"),
    "h": ("m", "geopotential_height", "depth of the layer, above a flat bottom"),
    "vorticity": ("s-1", "atmosphere_relative_vorticity", "relative vorticity"),
}
"""What is written: units, CF standard name and long name of each variable."""
ATTRIBUTES = {
    "Conventions": "CF-1.11",
    "title": "Barotropically unstable jet on the sphere, rotating shallow-water equations",
    "references": "Galewsky, Scott and Polvani (2004), https://doi.org/10.3402/tellusa.v56i5.14436",
}


def as_utc(time: datetime) -> datetime:
    """Return `time` in UTC; one that does not say its offset is UTC already."""
    if not 1700 <= time.year <= 2200:  # noqa: PLR2004 - readers that decode to 64 bits of nanoseconds can
        raise ValueError("the year must be from 1700 to 2200")
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


class ShallowWaterForecast(Workflow):
    """Forecast how a barotropically unstable jet rolls up, with the shallow-water equations on the sphere."""

    name = "shallow_water"

    class Parameters(BaseModel):
        """When, how long and how fine."""

        start_time: Annotated[datetime, AfterValidator(as_utc)] = Field(
            datetime(2000, 1, 1, tzinfo=UTC), description="The time of the initial state; UTC unless it has an offset."
        )
        nsteps: int = Field(
            24, ge=1, le=1000, description="How many states to write after the initial one; the jet rolls up in 6 days."
        )
        resolution: Literal["T42", "T63", "T85", "T106", "T170"] = Field(
            "T42",
            description="The triangular truncation. The grids are 64 x 128, 96 x 192, 128 x 256, 160 x 320, 256 x 512.",
        )
        output_interval: int = Field(6, ge=1, le=24, description="Hours from one written state to the next.")
        perturbation: bool = Field(default=True, description="Without it the jet is in balance, and stays zonal.")

    def run(self, parameters: Any, context: RunContext) -> None:
        """Write ``shallow_water.zarr`` into the output directory, step by step."""
        model = ShallowWater(SphericalHarmonics(int(parameters.resolution[1:])))
        state = jet(model, perturbed=parameters.perturbation)
        fields = model.fields(state)
        mass, energy = model.mass(fields), model.energy(fields)
        output = Output(context.output_directory / "shallow_water.zarr", model.sphere, parameters)
        output.write(0, fields)
        for step in range(1, parameters.nsteps + 1):
            state = model.advance(state, parameters.output_interval * HOUR, context.check_cancelled)
            fields = model.fields(state)
            output.write(step, fields)
            context.progress(
                step,
                parameters.nsteps,
                simulated_hours=step * parameters.output_interval,
                mass_drift=model.mass(fields) / mass - 1,
                energy_drift=model.energy(fields) / energy - 1,
            )
        output.consolidate()


class SphericalHarmonics:
    """Transforms between a Gaussian grid and spherical harmonics in triangular truncation.

    The harmonics have a mean square of 1 over the sphere, so that degree 0 is the global mean. The grid is the smallest
    on which a product of two fields is analyzed without aliasing. Analysis is the transpose of synthesis under the
    grid's quadrature, for scalars and for vectors: synthesis after analysis is an orthogonal projection.

    Parameters
    ----------
    truncation
        The highest degree and order.
    """

    def __init__(self, truncation: int) -> None:
        self.truncation = truncation
        self.nlat = 2 * math.ceil((3 * truncation + 1) / 4)
        self.nlon = 2 * self.nlat
        mu: Grid = np.asarray(np.polynomial.legendre.leggauss(self.nlat)[0])
        self.latitude: Grid = np.arcsin(mu)[:, np.newaxis]
        """In radians, shape (latitude, 1)."""
        self.longitude: Grid = np.arange(self.nlon) * (2 * np.pi / self.nlon)
        """In radians, shape (longitude,)."""
        self.weights: Grid = quadrature_weights(mu)[:, np.newaxis]
        """The share of the sphere that each latitude stands for, shape (latitude, 1)."""
        degree = np.arange(truncation + 2)
        self.laplacian: Grid = -(degree * (degree + 1.0))[:-1, np.newaxis] / RADIUS**2
        """Its eigenvalues, in 1/m², shape (degree, 1)."""
        self._inverse_laplacian = np.divide(1, self.laplacian, where=self.laplacian != 0, out=0 * self.laplacian)
        self._over_cosine = 1 / (RADIUS * np.cos(self.latitude))
        self._im = 1j * degree[:-1, np.newaxis, np.newaxis]
        # Half of the latitudes tell all: P is even or odd about the equator, as l - m is.
        p, epsilon = legendre_functions(truncation, mu[: self.nlat // 2])
        self._tables = {(m, degree): p[m::2, :, degree::2].copy() for m in (0, 1) for degree in (0, 1)}
        # cos(latitude) dP_l/d(latitude) = below_l P_(l-1) - above_l P_(l+1)
        self._below = ((degree + 1) * epsilon)[:, 1:-1, np.newaxis]
        self._above = (degree[:-1] * epsilon[:, 1:])[..., np.newaxis]

    def synthesize(self, spectrum: Spectrum) -> Grid:
        """Return the fields, shape (n, latitude, longitude), of a spectrum of shape (order, degree, n)."""
        orders = np.empty((self.truncation + 1, self.nlat, spectrum.shape[-1]), dtype=np.complex128)
        half = self.nlat // 2
        for m in (0, 1):
            even = _product(self._tables[m, m], spectrum[m::2, m::2])
            odd = _product(self._tables[m, 1 - m], spectrum[m::2, 1 - m :: 2])
            orders[m::2, :half] = even + odd
            orders[m::2, half:] = (even - odd)[:, ::-1]
        fields: Grid = np.fft.irfft(orders.transpose(2, 1, 0), self.nlon, norm="forward")
        return fields

    def analyze(self, fields: Grid) -> Spectrum:
        """Project fields of shape (n, latitude, longitude)."""
        return self._analyze(fields)[:, :-1]

    def velocity(self, vorticity_divergence: Spectrum) -> Grid:
        """Return (u, v) on the grid of a spectrum of shape (order, degree, 2)."""
        psi, chi = np.moveaxis(vorticity_divergence * self._inverse_laplacian, -1, 0)
        spectrum = np.zeros((self.truncation + 1, self.truncation + 2, 2), dtype=np.complex128)
        spectrum[:, :-1] = self._im * np.stack([chi, psi], axis=-1)
        along = np.stack([-psi, chi], axis=-1)
        spectrum[:, :-2] += self._below * along[:, 1:]
        spectrum[:, 1:] -= self._above * along
        return self.synthesize(spectrum) * self._over_cosine

    def vorticity_divergence(self, vector: Grid) -> Spectrum:
        """Project a vector field of shape (2, latitude, longitude) on harmonics; return its curl and divergence."""
        a, b = np.moveaxis(self._analyze(vector * self._over_cosine), -1, 0)
        spectrum: Spectrum = self._im * np.stack([b, a], axis=-1)[:, :-1]
        along = np.stack([a, -b], axis=-1)
        spectrum[:, 1:] += self._below * along[:, :-2]
        spectrum -= self._above * along[:, 1:]
        return spectrum

    def mean(self, field: Grid) -> float:
        """Average over the sphere."""
        return float((field * self.weights).sum() / self.nlon)

    def _analyze(self, fields: Grid) -> Spectrum:
        orders = np.fft.rfft(fields * self.weights, norm="forward")[..., : self.truncation + 1].transpose(2, 1, 0)
        south, north = np.split(orders, 2, axis=1)
        even, odd = south + north[:, ::-1], south - north[:, ::-1]
        spectrum = np.empty((self.truncation + 1, self.truncation + 2, fields.shape[0]), dtype=np.complex128)
        for m in (0, 1):
            spectrum[m::2, m::2] = _product(self._tables[m, m].swapaxes(1, 2), even[m::2])
            spectrum[m::2, 1 - m :: 2] = _product(self._tables[m, 1 - m].swapaxes(1, 2), odd[m::2])
        return spectrum


def _product(table: Grid, columns: Spectrum) -> Spectrum:
    """Multiply real matrices, one an order, with complex columns, as real numbers; more degrees than given are 0."""
    product: Grid = table[..., : columns.shape[1]] @ np.ascontiguousarray(columns).view(np.float64)
    return product.view(np.complex128)


def quadrature_weights(mu: Grid) -> Grid:
    """Return Gauss's weights, of sum 1, for his nodes, to rounding: those of `leggauss` lose digits near the poles."""
    legendre = np.polynomial.legendre.legvander(mu, mu.size - 1)
    weights: Grid = 1 / (legendre**2 @ (2 * np.arange(mu.size) + 1.0))
    return weights


def legendre_functions(truncation: int, mu: Grid) -> tuple[Grid, Grid]:
    """Return associated Legendre functions P and epsilon = sqrt((l² - m²) / (4 l² - 1)), to l = truncation + 1.

    Shapes (order, latitude, degree) and (order, degree). P lacks the sign (-1)^m, and has a mean square of 1 over
    -1 … 1. The recurrence in the degree, from l = m upward, is stable (Holmes and Featherstone 2002).
    """
    order, degrees = np.arange(truncation + 1)[:, np.newaxis], np.arange(truncation + 2)
    epsilon = np.sqrt(np.maximum(degrees**2 - order**2, 0) / np.abs(4 * degrees**2 - 1))
    p = np.zeros((truncation + 1, truncation + 2, mu.size))
    p[0, 0] = 1
    for m in range(1, truncation + 1):
        p[m, m] = np.sqrt((1 + 0.5 / m) * (1 - mu) * (1 + mu)) * p[m - 1, m - 1]
    for l in range(1, truncation + 2):  # noqa: E741 - the degree's name in every text
        below = slice(0, l)
        # At l = 1 the last degree, which is still zero, stands for degree -1.
        before = epsilon[below, l - 1, np.newaxis] * p[below, l - 2]
        p[below, l] = (mu * p[below, l - 1] - before) / epsilon[below, l, np.newaxis]
    return p.swapaxes(1, 2), epsilon


class ShallowWater:
    """The rotating shallow-water equations: energy-conserving in space, classical Runge-Kutta in time.

    Parameters
    ----------
    sphere
        The grid and its transforms.
    time_step
        The longest, in seconds; by default 600 at T42, and in proportion to the grid's spacing.
    diffusion_time
        In which the velocity's shortest waves decay by a factor e, in seconds; the rate falls with the eighth power of
        the wavenumber. By default 6 hours at T42, and in proportion to the grid's spacing. Infinite for none.
    """

    def __init__(
        self, sphere: SphericalHarmonics, time_step: float | None = None, diffusion_time: float | None = None
    ) -> None:
        self.sphere = sphere
        self.time_step = time_step or 600 * 42 / sphere.truncation
        self.diffusion_time = diffusion_time or 6 * HOUR * 42 / sphere.truncation
        self.coriolis: Grid = 2 * OMEGA * np.sin(sphere.latitude)
        """In radians a second; any shape that broadcasts to the grid's."""

    def tendency(self, state: Spectrum) -> Spectrum:
        """Return the rate of change of a state, a second.

        The mass flux is projected before the potential vorticity q turns it: so q does no work, whatever is truncated,
        and nothing but the step in time changes the total energy on the grid.
        """
        sphere = self.sphere
        u, v = sphere.velocity(state[..., :2])
        vorticity, h = sphere.synthesize(state[..., ::2])
        flux = sphere.vorticity_divergence(np.stack([h * u, h * v]))
        flux_u, flux_v = sphere.velocity(flux)
        q = (vorticity + self.coriolis) / h
        change = np.empty_like(state)
        change[..., :2] = sphere.vorticity_divergence(np.stack([q * flux_v, -q * flux_u]))
        head = sphere.analyze(((u**2 + v**2) / 2 + GRAVITY * h)[np.newaxis])[..., 0]
        change[..., 1] -= sphere.laplacian[:, 0] * head
        change[..., 2] = -flux[..., 1]
        return change

    def advance(self, state: Spectrum, seconds: float, before_each: Callable[[], None] = lambda: None) -> Spectrum:
        """Return the state `seconds` later, calling `before_each` before each time step.

        Raises
        ------
        FloatingPointError
            If a value has become infinite or NaN.
        """
        steps = math.ceil(seconds / self.time_step)
        dt = seconds / steps
        decay = np.exp(-dt / self.diffusion_time * (self.sphere.laplacian / self.sphere.laplacian[-1]) ** 4)
        with np.errstate(all="ignore"):  # what they would tell is told below, in words
            for _ in range(steps):
                before_each()
                state = self._step(state, dt)
                state[..., :2] *= decay
        if not np.isfinite(state).all():
            raise FloatingPointError("the model has become unstable: take a shorter time step, or a finer resolution")
        return state

    def _step(self, state: Spectrum, dt: float) -> Spectrum:
        k1 = self.tendency(state)
        k2 = self.tendency(state + dt / 2 * k1)
        k3 = self.tendency(state + dt / 2 * k2)
        k4 = self.tendency(state + dt * k3)
        return state + dt / 6 * (k1 + 2 * (k2 + k3) + k4)

    def fields(self, state: Spectrum) -> dict[str, Grid]:
        """Return a state's variables on the grid."""
        u, v = self.sphere.velocity(state[..., :2])
        vorticity, h = self.sphere.synthesize(state[..., ::2])
        return {"u": u, "v": v, "h": h, "vorticity": vorticity}

    def mass(self, fields: dict[str, Grid]) -> float:
        """Return the mean depth on the grid, in metres."""
        return self.sphere.mean(fields["h"])

    def energy(self, fields: dict[str, Grid]) -> float:
        """Return the mean kinetic and potential energy on the grid, divided by the density, in m³/s²."""
        u, v, h = fields["u"], fields["v"], fields["h"]
        return self.sphere.mean(h * (u**2 + v**2) / 2 + GRAVITY * h**2 / 2)

    def state(self, u: Grid, v: Grid, h: Grid) -> Spectrum:
        """Project fields on the grid into a state."""
        shape = (self.sphere.nlat, self.sphere.nlon)
        wind = np.stack([np.broadcast_to(u, shape), np.broadcast_to(v, shape)])
        depth = np.broadcast_to(h, shape)[np.newaxis]
        return np.concatenate([self.sphere.vorticity_divergence(wind), self.sphere.analyze(depth)], axis=-1)


def jet(model: ShallowWater, *, perturbed: bool = True) -> Spectrum:
    """Return the state of Galewsky et al. (2004): a balanced zonal jet, and a bump in the depth that sets it off."""
    sphere = model.sphere
    h = balanced_depth(sphere.latitude)
    if perturbed:
        longitude = (sphere.longitude + np.pi) % (2 * np.pi) - np.pi
        east, north = 3 * longitude, 15 * (np.pi / 4 - sphere.latitude)
        h = h + 120 * np.cos(sphere.latitude) * np.exp(-(east**2) - north**2)
    return model.state(jet_speed(sphere.latitude), np.zeros(1), h)


def jet_speed(latitude: Grid) -> Grid:
    """Return the eastward speed (m/s) of the jet, whose edges are smooth to every order (equation 2)."""
    inside = (latitude > SOUTH) & (latitude < NORTH)
    phi = np.where(inside, latitude, np.pi / 4)
    return np.where(inside, 80 * np.exp(1 / ((phi - SOUTH) * (phi - NORTH)) + 4 / (NORTH - SOUTH) ** 2), 0.0)


def balanced_depth(latitude: Grid) -> Grid:
    """Integrate the jet's gradient-wind balance northward to each latitude (equation 3); the mean is `MEAN_DEPTH`.

    The integrand is smooth: with 100 points of Gauss's quadrature the integrals are right to rounding.
    """
    x, weights = np.polynomial.legendre.leggauss(100)
    to = np.clip(latitude, SOUTH, NORTH)[..., np.newaxis]
    drop = (_slope(SOUTH + (to - SOUTH) * (x + 1) / 2) * weights).sum(axis=-1) * (to - SOUTH)[..., 0] / 2
    phi = SOUTH + (NORTH - SOUTH) * (x + 1) / 2
    mean_drop = (_slope(phi) * (1 - np.sin(phi)) * weights).sum() * (NORTH - SOUTH) / 4
    depth: Grid = MEAN_DEPTH + mean_drop - drop
    return depth


def _slope(phi: Grid) -> Grid:
    u = jet_speed(phi)
    slope: Grid = u * (2 * OMEGA * RADIUS * np.sin(phi) + np.tan(phi) * u) / GRAVITY
    return slope


class Output:
    """A new zarr store with CF metadata, in which each variable has one chunk a step."""

    def __init__(self, path: Path, sphere: SphericalHarmonics, parameters: Any) -> None:
        self._path = path
        self._group = zarr.create_group(path, zarr_format=3, attributes=ATTRIBUTES)
        self._group.attrs["source"] = f"wildcast's workflow shallow_water, spectral {parameters.resolution}"
        since = parameters.start_time.replace(tzinfo=None).isoformat(sep=" ")
        hours = np.arange(parameters.nsteps + 1) * parameters.output_interval
        self._coordinate("time", hours, axis="T", units=f"hours since {since}", calendar="proleptic_gregorian")
        self._coordinate("latitude", np.rad2deg(sphere.latitude[:, 0]), axis="Y", units="degrees_north")
        self._coordinate("longitude", np.rad2deg(sphere.longitude), axis="X", units="degrees_east")
        self._arrays = {
            name: self._group.create_array(
                name,
                shape=(hours.size, sphere.nlat, sphere.nlon),
                chunks=(1, sphere.nlat, sphere.nlon),
                dtype="float32",
                fill_value=float("nan"),
                dimension_names=["time", "latitude", "longitude"],
                attributes={"units": units, "standard_name": standard_name, "long_name": long_name},
            )
            for name, (units, standard_name, long_name) in VARIABLES.items()
        }

    def write(self, step: int, fields: dict[str, Grid]) -> None:
        """Write the fields of one step."""
        for name, field in fields.items():
            self._arrays[name][step] = field.astype(np.float32)

    def consolidate(self) -> None:
        """Finish the store."""
        with warnings.catch_warnings():
            # Every reader of ours knows it; the specification's own word is pending.
            warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part in the Zarr")
            zarr.consolidate_metadata(self._path, zarr_format=3)

    def _coordinate(self, name: str, values: NDArray[Any], **attributes: Any) -> None:
        attributes["standard_name"] = name
        self._group.create_array(name, data=values, chunks=values.shape, dimension_names=[name], attributes=attributes)
