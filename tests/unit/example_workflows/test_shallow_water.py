"""The example workflow that forecasts: its transforms, its model, and what it writes."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from wildcast_server import ExecutionCancelledError, RunContext
from wildcast_server.domain.discovery import discover
from wildcast_server.domain.parameters import to_json, validate
from wildcast_server.errors import InvalidParametersError

DIRECTORY = Path(__file__).parents[3] / "server" / "example_workflows"
HOUR = 3600.0
DAY = 24 * HOUR
NONE = float("inf")
"""The diffusion time of no diffusion."""

WORKFLOW = discover([DIRECTORY]).registry.get("shallow_water")
SW = sys.modules[WORKFLOW.__module__]


def random_spectrum(truncation: int, count: int) -> np.ndarray:
    """Make a spectrum of real fields, of order 1."""
    rng = np.random.default_rng(1)
    shape = (truncation + 1, truncation + 1, count)
    spectrum = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    spectrum[0] = spectrum[0].real
    m, degree = np.ogrid[: truncation + 1, : truncation + 1]
    spectrum[degree < m] = 0
    return spectrum


def noisy_jet(model):
    """The jet with noise at every wavenumber: a state that the truncation does not resolve."""
    state = SW.jet(model)
    noise = random_spectrum(model.sphere.truncation, 3)
    noise[0, 0] = 0
    return state + noise * np.array([1e-6, 1e-7, 3.0])


@pytest.fixture(scope="module")
def t21():
    """A coarse grid."""
    return SW.SphericalHarmonics(21)


@pytest.mark.parametrize("truncation", [21, 42, 106])
def test_the_quadrature_is_exact(truncation):
    """Means of even powers of the sine of latitude are right to rounding, up to the degree that Gauss promises."""
    sphere = SW.SphericalHarmonics(truncation)
    powers = np.arange(0, 2 * sphere.nlat, 2)
    means = [sphere.mean(np.repeat(np.sin(sphere.latitude) ** power, sphere.nlon, axis=1)) for power in powers]
    np.testing.assert_allclose(means, 1 / (powers + 1), rtol=1e-12)


@pytest.mark.parametrize("truncation", [21, 42, 106])
def test_scalar_transforms_invert(truncation):
    """Any truncated spectrum comes back from the grid."""
    sphere, spectrum = SW.SphericalHarmonics(truncation), random_spectrum(truncation, 2)
    np.testing.assert_allclose(sphere.analyze(sphere.synthesize(spectrum)), spectrum, atol=1e-12)


@pytest.mark.parametrize("truncation", [21, 42, 106])
def test_vector_transforms_invert(truncation):
    """Any vorticity and divergence of mean 0 come back from the velocity on the grid."""
    sphere, spectrum = SW.SphericalHarmonics(truncation), random_spectrum(truncation, 2)
    spectrum[0, 0] = 0
    np.testing.assert_allclose(sphere.vorticity_divergence(sphere.velocity(spectrum)), spectrum, atol=2e-12)


def test_harmonics_are_what_texts_say(t21):
    """Degrees 0 to 2 agree with their formulas, normalized to a mean square of 1."""
    spectrum = np.zeros((22, 22, 3), dtype=complex)
    spectrum[0, 1, 0] = spectrum[1, 1, 1] = spectrum[1, 2, 2] = 1
    sine, cosine, east = np.sin(t21.latitude), np.cos(t21.latitude), np.cos(t21.longitude)
    formulas = np.array(
        [
            np.sqrt(3) * sine + 0 * east,
            np.sqrt(3 / 2) * cosine * 2 * east,
            np.sqrt(15 / 2) * sine * cosine * 2 * east,
        ]
    )
    np.testing.assert_allclose(t21.synthesize(spectrum), formulas, atol=1e-13)


def test_a_rotating_solid_has_the_known_vorticity(t21):
    """A zonal wind of U cos(latitude) has the vorticity 2 U sin(latitude) / a, and no divergence."""
    wind = np.stack([np.cos(t21.latitude) + 0 * t21.longitude, np.zeros((t21.nlat, t21.nlon))])
    vorticity, divergence = t21.synthesize(t21.vorticity_divergence(wind))
    np.testing.assert_allclose(vorticity * SW.RADIUS, 2 * np.sin(t21.latitude) + 0 * t21.longitude, atol=1e-12)
    np.testing.assert_allclose(divergence * SW.RADIUS, 0, atol=1e-12)


@pytest.mark.parametrize("angle", [pytest.param(0, marks=pytest.mark.long), np.pi / 4])
def test_a_steady_geostrophic_flow_stays(t21, angle):
    """Williamson et al. (1992), case 2: over three days, also across the poles, nothing changes beyond rounding."""
    model = SW.ShallowWater(t21, diffusion_time=NONE)
    latitude, longitude = t21.latitude, t21.longitude
    axis = np.sin(latitude) * np.cos(angle) - np.cos(longitude) * np.cos(latitude) * np.sin(angle)
    speed = 2 * np.pi * SW.RADIUS / (12 * DAY)
    u = speed * (np.cos(latitude) * np.cos(angle) + np.cos(longitude) * np.sin(latitude) * np.sin(angle))
    v = -speed * np.sin(longitude) * np.sin(angle)
    h = (2.94e4 - (SW.RADIUS * SW.OMEGA * speed + speed**2 / 2) * axis**2) / SW.GRAVITY
    model.coriolis = 2 * SW.OMEGA * axis
    fields = model.fields(model.advance(model.state(u, v, h), 3 * DAY))
    np.testing.assert_allclose(fields["h"], h, rtol=1e-11)
    np.testing.assert_allclose(fields["u"] / speed, u / speed, atol=1e-10)
    np.testing.assert_allclose(fields["v"] / speed, np.broadcast_to(v, h.shape) / speed, atol=1e-10)


@pytest.mark.parametrize(("m", "degree"), [(0, 3), (2, 5)])
def test_gravity_waves_have_their_frequency(t21, m, degree):
    """Without rotation a small wave of degree l returns after the period of sqrt(g H l (l + 1)) / a."""
    model = SW.ShallowWater(t21, time_step=300, diffusion_time=NONE)
    model.coriolis = np.zeros((1, 1))
    state = np.zeros((22, 22, 3), dtype=complex)
    state[0, 0, 2], state[m, degree, 2] = SW.MEAN_DEPTH, 1e-3
    period = 2 * np.pi * SW.RADIUS / np.sqrt(SW.GRAVITY * SW.MEAN_DEPTH * degree * (degree + 1))
    quarter = model.advance(state, period / 4)
    assert abs(quarter[m, degree, 2]) < 1e-6 * 1e-3 + 1e-7
    assert model.advance(quarter, period / 4)[m, degree, 2].real == pytest.approx(-1e-3, rel=1e-3)


@pytest.mark.parametrize(("m", "degree"), [(1, 1), (4, 5), (10, 21)])
def test_rossby_waves_have_their_speed(t21, m, degree):
    """The vorticity of a small harmonic turns westward, at 2 Omega / (l (l + 1)) radians a second."""
    model = SW.ShallowWater(t21)
    state = np.zeros((22, 22, 3), dtype=complex)
    state[0, 0, 2], state[m, degree, 0] = SW.MEAN_DEPTH, 1e-12
    rate = model.tendency(state)[m, degree, 0] / state[m, degree, 0]
    assert rate == pytest.approx(1j * m * 2 * SW.OMEGA / (degree * (degree + 1)), rel=1e-6)


def test_mass_is_conserved_to_rounding(t21):
    """Two days of an unresolved flow change the mean depth by less than 1e-13 of it, diffusion or not."""
    for diffusion_time in (None, NONE):
        model = SW.ShallowWater(t21, diffusion_time=diffusion_time)
        state = noisy_jet(model)
        before, after = model.mass(model.fields(state)), model.mass(model.fields(model.advance(state, 2 * DAY)))
        assert abs(after / before - 1) < 1e-13


def test_the_scheme_in_space_conserves_energy(t21):
    """Even in a flow that the truncation does not resolve, the tendency changes the total energy by rounding alone."""
    model = SW.ShallowWater(t21)
    state = noisy_jet(model)
    rate = model.tendency(state)
    fields, (u_t, v_t), (h_t,) = model.fields(state), t21.velocity(rate[..., :2]), t21.synthesize(rate[..., 2:])
    u, v, h = fields["u"], fields["v"], fields["h"]
    work = [h * u * u_t, h * v * v_t, ((u**2 + v**2) / 2 + SW.GRAVITY * h) * h_t]
    gross = sum(t21.mean(abs(part)) for part in work)
    assert abs(t21.mean(sum(work))) < 1e-14 * gross


def test_energy_drifts_at_the_order_of_the_scheme_in_time(t21):
    """Halving the time step divides the energy's drift by at least 2^4 (by 2^5 where waves are linear)."""
    drifts = []
    for time_step in (900, 450, 225):
        model = SW.ShallowWater(t21, time_step, NONE)
        state = SW.jet(model)
        before, after = (model.energy(model.fields(s)) for s in (state, model.advance(state, 12 * HOUR)))
        drifts.append(abs(after / before - 1))
    assert drifts[0] < 1e-7
    assert drifts[0] / drifts[1] > 16
    assert drifts[1] / drifts[2] > 16


def test_diffusion_only_takes_energy(t21):
    """Hour by hour the energy falls; in a day by less than a tenth of the kinetic energy, even on this coarse grid."""
    model = SW.ShallowWater(t21)
    state = SW.jet(model)
    start = model.fields(state)
    energies = [model.energy(start)]
    for _ in range(24):
        state = model.advance(state, HOUR)
        energies.append(model.energy(model.fields(state)))
    assert max(np.diff(energies)) < 0
    assert energies[0] - energies[-1] < t21.mean(start["h"] * (start["u"] ** 2 + start["v"] ** 2) / 2) / 10


def test_the_jet_is_the_published_one():
    """Its peak is 80 m/s at 45 degrees, its edges are still, and the depth at the south pole is what others compute."""
    assert SW.jet_speed(np.array([np.pi / 4])) == pytest.approx(80)
    assert SW.jet_speed(np.array([-1.0, np.pi / 7, np.pi / 2 - np.pi / 7, 1.5])) == pytest.approx(0)
    assert SW.balanced_depth(np.array([-np.pi / 2])) == pytest.approx(10158.186170454619, rel=1e-14)


def test_the_depth_balances_the_jet():
    """The pressure gradient is the Coriolis and the centrifugal force, and the mean depth is 10 km."""
    sphere, step = SW.SphericalHarmonics(85), 1e-5
    latitude = sphere.latitude[:, 0]
    slope = (SW.balanced_depth(latitude + step) - SW.balanced_depth(latitude - step)) / (2 * step)
    u = SW.jet_speed(latitude)
    force = (2 * SW.OMEGA * np.sin(latitude) + np.tan(latitude) * u / SW.RADIUS) * u
    np.testing.assert_allclose(-SW.GRAVITY * slope / SW.RADIUS, force, atol=1e-9)
    depth = np.repeat(SW.balanced_depth(sphere.latitude), sphere.nlon, axis=1)
    assert sphere.mean(depth) == pytest.approx(10_000, rel=1e-9)


def test_the_perturbation_is_the_published_one():
    """It is 120 m cos(latitude) high at 0 E 45 N, and falls by 1/e within 1/3 radian of longitude, 1/15 of latitude."""
    sphere = SW.SphericalHarmonics(85)
    model = SW.ShallowWater(sphere)
    with_it, without = (model.fields(SW.jet(model, perturbed=perturbed))["h"] for perturbed in (True, False))
    longitude = np.where(sphere.longitude > np.pi, sphere.longitude - 2 * np.pi, sphere.longitude)
    distance = (longitude / (1 / 3)) ** 2 + ((sphere.latitude - np.pi / 4) / (1 / 15)) ** 2
    np.testing.assert_allclose(with_it - without, 120 * np.cos(sphere.latitude) * np.exp(-distance), atol=0.1)


def test_an_unperturbed_jet_stays_zonal(t21):
    """Four days leave no wave above what rounding has seeded."""
    model = SW.ShallowWater(t21)
    fields = model.fields(model.advance(SW.jet(model, perturbed=False), 4 * DAY))
    assert abs(fields["u"] - fields["u"].mean(axis=1, keepdims=True)).max() < 1e-9
    assert abs(fields["v"] - fields["v"].mean(axis=1, keepdims=True)).max() < 1e-9
    assert fields["u"].max() > 50


def test_a_model_that_becomes_unstable_says_so(t21):
    """Too long a time step ends in a sentence, not in a store full of NaN."""
    model = SW.ShallowWater(t21, time_step=6 * HOUR)
    with pytest.raises(FloatingPointError, match="has become unstable: take a shorter time step"):
        model.advance(SW.jet(model), 20 * DAY)


def run(directory, parameters, **surroundings):
    """Run the workflow as the runner does and return the store's path."""
    context = RunContext("exec_1_00000000", directory, **surroundings)
    WORKFLOW(WORKFLOW.Config()).run(validate(WORKFLOW, parameters), context)
    (store,) = directory.iterdir()
    return store


@pytest.fixture(scope="module")
def forecast(tmp_path_factory):
    """A day at T42; the dataset and every progress."""
    progress = []
    store = run(tmp_path_factory.mktemp("forecast"), {"nsteps": 4}, on_progress=progress.append)
    with xr.open_zarr(store, consolidated=True) as dataset:
        yield dataset.load(), progress


def test_progress_tells_every_step(forecast):
    """Each state is one step, with the hours and the drift of mass and energy."""
    _, progress = forecast
    assert [update["current_step"] for update in progress] == [1, 2, 3, 4]
    assert {update["total_steps"] for update in progress} == {4}
    assert [update["simulated_hours"] for update in progress] == [6, 12, 18, 24]
    assert max(abs(update["mass_drift"]) for update in progress) < 1e-13
    assert -1e-4 < progress[-1]["energy_drift"] < 0


def test_the_forecast_is_a_cf_dataset(forecast):
    """Dimensions, coordinates, units and names are those that CF gives them."""
    dataset, _ = forecast
    assert {name: (variable.dims, variable.dtype) for name, variable in dataset.data_vars.items()} == dict.fromkeys(
        ["u", "v", "h", "vorticity"], (("time", "latitude", "longitude"), np.dtype("float32"))
    )
    assert dataset.sizes == {"time": 5, "latitude": 64, "longitude": 128}
    assert {name: variable.attrs["units"] for name, variable in dataset.variables.items() if name != "time"} == {
        "u": "m s-1",
        "v": "m s-1",
        "h": "m",
        "vorticity": "s-1",
        "latitude": "degrees_north",
        "longitude": "degrees_east",
    }
    assert [dataset[name].attrs["axis"] for name in ("time", "latitude", "longitude")] == ["T", "Y", "X"]
    assert all("standard_name" in variable.attrs for variable in dataset.variables.values())
    assert dataset.attrs["Conventions"] == "CF-1.11"
    assert "T42" in dataset.attrs["source"]


def test_each_step_is_a_chunk(forecast):
    """A reader of one time fetches one object a variable."""
    dataset, _ = forecast
    assert {variable.encoding["chunks"] for variable in dataset.data_vars.values()} == {(1, 64, 128)}


def test_times_follow_the_start(forecast):
    """The first state is that of the start time, the others are six hours apart."""
    dataset, _ = forecast
    assert dataset["time"].values[0] == np.datetime64("2000-01-01")
    assert set(np.diff(dataset["time"].values)) == {np.timedelta64(6, "h")}


@pytest.mark.long
def test_the_jet_rolls_up(tmp_path):
    """On day 2 the jet is still nearly zonal; on day 6 it has rolled up into vortices as strong as those published."""
    with xr.open_zarr(run(tmp_path, {}), consolidated=True) as opened:
        dataset = opened.load()
    assert dataset.sizes["time"] == 25
    eddies = abs(dataset["v"]).max(["latitude", "longitude"])
    assert eddies[8] < 12
    assert eddies[-1] > 40
    vorticity = dataset["vorticity"][-1]
    assert 1.0e-4 < vorticity.max() < 1.6e-4
    assert -1.4e-4 < vorticity.min() < -0.9e-4
    strongest = vorticity.where(vorticity > 0.9e-4, drop=True)
    assert 20 < strongest["latitude"].min() < strongest["latitude"].max() < 70


def test_what_is_written_is_consistent(forecast):
    """The vorticity is that of the wind that is written beside it."""
    dataset, _ = forecast
    sphere = SW.SphericalHarmonics(42)
    wind = np.stack([dataset["u"][-1].values, dataset["v"][-1].values]).astype(float)
    vorticity = sphere.synthesize(sphere.vorticity_divergence(wind))[0]
    np.testing.assert_allclose(vorticity, dataset["vorticity"][-1], atol=1e-10)


def test_the_start_time_is_utc(tmp_path):
    """A start time with an offset is that instant; its fractions of a second survive."""
    parameters = {"start_time": "2026-03-01T01:30:00.25+01:30", "nsteps": 1, "output_interval": 1}
    with xr.open_zarr(run(tmp_path, parameters)) as dataset:
        assert list(dataset["time"].values) == [
            np.datetime64("2026-03-01T00:00:00.250"),
            np.datetime64("2026-03-01T01:00:00.250"),
        ]


def test_the_resolution_makes_the_grid(tmp_path):
    """T63 is computed and written on 96 x 192 points from south to north."""
    with xr.open_zarr(run(tmp_path, {"resolution": "T63", "nsteps": 1, "output_interval": 1})) as dataset:
        assert dataset["h"].shape == (2, 96, 192)
        assert bool(dataset["latitude"].to_index().is_monotonic_increasing)


def test_a_cancelled_forecast_stops_between_time_steps(tmp_path):
    """Told to stop within the second written step, it does so before that step is written."""
    calls = iter(range(100))
    progress = []
    with pytest.raises(ExecutionCancelledError):
        run(tmp_path, {"output_interval": 1}, on_progress=progress.append, is_cancelled=lambda: next(calls) == 8)
    assert [update["current_step"] for update in progress] == [1]
    assert not (tmp_path / "shallow_water.zarr" / "u" / "c" / "2").exists()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"nsteps": 0}, "nsteps: Input should be greater than or equal to 1"),
        ({"nsteps": 1001}, "nsteps: Input should be less than or equal to 1000"),
        ({"resolution": "T50"}, "resolution: Input should be 'T42', 'T63', 'T85', 'T106' or 'T170'"),
        ({"output_interval": 0}, "output_interval: Input should be greater than or equal to 1"),
        ({"start_time": "yesterday"}, "start_time: Input should be a valid datetime"),
        ({"start_time": "0001-01-01T00:00:00+05:00"}, "start_time: Value error, the year must be from 1700 to 2200"),
        ({"steps": 3}, "it takes start_time, nsteps, resolution, output_interval, perturbation"),
    ],
)
def test_what_makes_no_sense_is_refused(parameters, words):
    """Parameters out of range are refused in words, before anything runs."""
    with pytest.raises(InvalidParametersError, match=words):
        validate(WORKFLOW, parameters)


def test_the_parameters_can_be_recorded_and_described():
    """Defaults survive the record, and the schema is JSON with a description for each parameter."""
    assert to_json(validate(WORKFLOW, {}))["start_time"] == "2000-01-01T00:00:00Z"
    schema = json.loads(json.dumps(WORKFLOW.Parameters.model_json_schema()))
    assert all(field["description"] for field in schema["properties"].values())
