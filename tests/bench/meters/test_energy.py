import logging
import socket
import time
from types import SimpleNamespace

import pytest

from bench.meters import energy
from bench.meters.energy import EnergyMeter, countries, warm_up
from bench.meters.instruments.tracker import HOW_ESTIMATED, MEMORY_ESTIMATED

KWH = 3.6e6  # joules


class CPU:
    def __init__(self, mode):
        self._mode, self._tdp, self._is_generic_tdp, self._model = mode, 100, True, "any"


class RAM:
    pass


class NvidiaGPUDevice:
    def __init__(self, counter):
        self._has_counter, self._use_power_fallback = counter, not counter


class GPU:
    def __init__(self, *counters):
        self.devices = SimpleNamespace(devices=[NvidiaGPUDevice(counter) for counter in counters])


class Tracker:
    """Stands in for codecarbon's: a stop yields these kWh, and what is asked of it is noted."""

    def __init__(self, *, hardware=(), cpu=0.0, gpu=0.0, ram=0.0, kg_per_kwh=0.5, stop_yields=...):
        self.asked, self.settings = [], None
        self._hardware, self._tracking_mode = list(hardware), "machine"
        self._energies = {"cpu_energy": cpu, "gpu_energy": gpu, "ram_energy": ram}
        self._consumed = cpu + gpu + ram
        self._yields = self._consumed * kg_per_kwh if stop_yields is ... else stop_yields

    def __call__(self, **settings):
        self.settings = settings
        return self

    def start(self):
        self.asked.append("start")

    def stop(self):
        self.asked.append("stop")
        if isinstance(self._yields, Exception):
            raise self._yields
        if self._yields is not None:
            self.final_emissions_data = SimpleNamespace(energy_consumed=self._consumed, **self._energies)
        return self._yields


def measured_by(tracker, **options):
    with EnergyMeter(tracker=tracker, **{"country": "FRA"} | options) as meter:
        pass
    return meter.figures


def test_measured_and_estimated_joules_are_kept_apart():
    hardware = [RAM(), CPU("intel_rapl"), GPU(True, True)]
    figures = measured_by(Tracker(hardware=hardware, cpu=1.0, gpu=2.0, ram=4.0))
    assert (figures.cpu.source, figures.gpu.source, figures.memory.source) == ("rapl", "nvml", "estimated")
    assert figures.measured_joules == pytest.approx(3 * KWH)
    assert figures.estimated_joules == pytest.approx(4 * KWH)
    assert figures.co2e_kg == pytest.approx(3.5)
    assert figures.gpu.co2e_kg == pytest.approx(1.0)
    assert (figures.tdp_w, figures.tdp_origin) == (None, None)  # the CPU was measured
    assert figures.reason is None


def test_a_guess_is_called_an_estimate_with_the_power_it_rests_on():
    figures = measured_by(Tracker(hardware=[RAM(), CPU("cpu_load"), GPU(True, False)], cpu=1.0, gpu=1.0, ram=1.0))
    assert figures.measured_joules is None
    assert figures.cpu.source == figures.gpu.source == "estimated"
    assert (figures.cpu.detail, figures.gpu.detail) == (HOW_ESTIMATED["cpu_load"], "sampled power")
    assert figures.tdp_w == 100
    assert figures.tdp_origin == "codecarbon's constant for any CPU"


def test_a_component_that_reads_nothing_is_absent_not_zero():
    figures = measured_by(Tracker(hardware=[CPU("intel_rapl"), GPU(True)], cpu=1.0, gpu=0.0))
    assert figures.gpu.energy_joules is None
    assert "no energy" in figures.gpu.reason
    assert figures.memory.reason == "codecarbon tracks no memory here"
    assert figures.measured_joules == pytest.approx(KWH)


def test_a_tracker_that_yields_none_leaves_the_figures_absent():
    figures = measured_by(Tracker(stop_yields=None))
    assert figures.measured_joules is figures.estimated_joules is figures.co2e_kg is None
    assert figures.cpu.energy_joules is None
    assert figures.reason == figures.cpu.reason == "the tracker stopped without a figure"


def test_a_tracker_that_throws_is_an_absent_figure_and_not_the_runs_end():
    assert measured_by(Tracker(stop_yields=OSError("counter gone"))).reason == "codecarbon: OSError: counter gone"

    def refuses(**settings):
        raise ImportError("no codecarbon")

    assert measured_by(refuses).reason == "codecarbon: ImportError: no codecarbon"


def test_the_tracker_stops_when_the_block_raises():
    tracker = Tracker(hardware=[CPU("intel_rapl")], cpu=1.0)
    meter = EnergyMeter(country="FRA", tracker=tracker)
    with pytest.raises(KeyError, match="own"), meter:
        raise KeyError("own")
    assert tracker.asked == ["start", "stop"]
    assert meter.figures.measured_joules == pytest.approx(KWH)


def test_pauses_are_left_out_and_one_failed_stretch_leaves_all_absent():
    good, bad = Tracker(hardware=[CPU("intel_rapl")], cpu=1.0), Tracker(stop_yields=None)
    for second, joules in ((good, 2 * KWH), (bad, None)):
        trackers = [good, second]
        with (
            EnergyMeter(tracker=lambda trackers=trackers, **settings: trackers.pop(0)) as meter,
            meter.paused(),
        ):
            assert good.asked[-1] == "stop"
        assert meter.figures.measured_joules == joules
        assert meter.figures.segments == (2 if joules else 0)
    assert "1 of 2 stretches" in meter.figures.reason


def test_nothing_that_reaches_a_network_or_a_file_is_left_to_a_users_config():
    tracker = Tracker()
    measured_by(tracker, options={"measure_power_secs": 1})
    assert tracker.settings["output_methods"] == tracker.settings["output_handlers"] == []
    assert tracker.settings["emissions_endpoint"] is None
    assert not tracker.settings["electricitymaps_api_token"]
    assert tracker.settings["country_iso_code"] == "FRA"
    assert tracker.settings["measure_power_secs"] == 1


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """Forbids the network, and gives an empty working folder to find files in."""

    def refuse(*_):
        raise AssertionError("a network call")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CODECARBON_CO2_SIGNAL_API_TOKEN", "would make it ask the network")
    return tmp_path


def test_codecarbon_itself_says_nothing_writes_nothing_and_has_figures(offline, capfd):
    pytest.importorskip("codecarbon")
    seen = warm_up()
    assert seen.memory.source == "estimated"
    assert seen.reason == "no country was given"
    with EnergyMeter(country="fra") as meter:
        time.sleep(0.1)
        with meter.paused():
            time.sleep(0.3)
    figures = meter.figures
    assert figures.scope == "machine"
    assert figures.country == "FRA"
    assert figures.segments == 2
    assert figures.co2e_kg > 0
    assert figures.memory.energy_joules > 0
    if figures.cpu.source == "estimated":
        assert figures.tdp_w > 0
        assert figures.tdp_origin
    assert list(offline.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("codecarbon").filters == []


def test_a_short_phase_is_not_lost(offline):
    pytest.importorskip("codecarbon")
    found = []
    for seconds in (0.02, 0.2):
        with EnergyMeter(country="FRA") as meter:
            time.sleep(seconds)
        found.append(meter.figures.memory.energy_joules)  # a constant power, so that joules are seconds
    assert 4 < found[1] / found[0] < 11


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"no_such_option": 1}, "no_such_option"),
        ({"output_dir": "/no/such/folder"}, "/no/such/folder"),
    ],
)
def test_what_codecarbon_swallows_is_the_reason(offline, options, line):
    pytest.importorskip("codecarbon")
    with EnergyMeter(country="FRA", options=options) as meter:
        pass
    assert meter.figures.estimated_joules is None
    assert line in meter.figures.reason


def test_a_second_tracker_is_the_reason(offline, monkeypatch):
    pytest.importorskip("codecarbon")
    lock = pytest.importorskip("codecarbon.lock")
    monkeypatch.setattr(lock, "LOCKFILE", str(offline / "lock"))
    monkeypatch.setattr(lock.signal, "signal", lambda *_: None)  # it would take over SIGINT for good
    once = {"country": "FRA", "options": {"allow_multiple_runs": False}}
    with EnergyMeter(**once) as first, EnergyMeter(**once) as second:
        pass
    assert "Another instance" in second.figures.reason
    assert first.figures.memory.energy_joules > 0


def test_an_unknown_country_has_joules_and_no_emissions(offline):
    pytest.importorskip("codecarbon")
    with EnergyMeter(country="XXX") as meter:
        pass
    assert meter.figures.co2e_kg is None
    assert meter.figures.memory.energy_joules > 0
    assert "'XXX'" in meter.figures.reason


def test_the_default_tracker_is_the_offline_one(monkeypatch):
    codecarbon = pytest.importorskip("codecarbon")
    monkeypatch.setattr(codecarbon, "OfflineEmissionsTracker", lambda **settings: settings)
    assert energy._offline_tracker(a=1) == {"a": 1}


def test_the_cpus_estimated_power_is_what_we_say_it_is():
    """TDP x (0.1 + 0.9 load^3) of the whole machine; constant mode takes half of the TDP."""
    hardware = pytest.importorskip("codecarbon.external.hardware")
    cpu = hardware.CPU(output_dir="", mode="cpu_load", model="any", tdp=100, tracking_mode="machine")
    for load in (0.0, 0.3, 1.0):
        cpu._cpu_load_meter = SimpleNamespace(percent=lambda load=load: 100 * load)
        assert pytest.approx(100 * (0.1 + 0.9 * load**3)) == cpu._get_power_from_cpus().W
    assert "TDP x (0.1 + 0.9 load^3), load of the whole machine" in HOW_ESTIMATED["cpu_load"]
    constant = hardware.CPU(output_dir="", mode="constant", model="any", tdp=100)
    assert constant._get_power_from_cpus().W == 50
    assert HOW_ESTIMATED["constant"].endswith("TDP x 0.5")


def test_the_memorys_estimated_power_is_what_we_say_it_is():
    memory = pytest.importorskip("codecarbon.external.ram").RAM(tracking_mode="machine")
    for arm, watts in ((False, 5), (True, 1.5)):
        memory.is_arm_cpu = arm
        assert memory._calculate_ram_power(32) == 4 * watts  # 4 slots of 8 GB
        assert f"{watts} W" in MEMORY_ESTIMATED


def test_the_pue_is_in_the_co2e_and_never_in_the_joules():
    hardware = [RAM(), CPU("intel_rapl")]
    plain, cooled = (measured_by(Tracker(hardware=hardware, cpu=1.0, ram=4.0), pue=pue) for pue in (1.0, 1.5))
    assert (plain.pue, cooled.pue) == (1.0, 1.5)
    assert cooled.measured_joules == plain.measured_joules == pytest.approx(KWH)
    assert cooled.estimated_joules == plain.estimated_joules == pytest.approx(4 * KWH)
    assert cooled.co2e_kg == pytest.approx(1.5 * plain.co2e_kg)
    assert cooled.cpu.co2e_kg == pytest.approx(1.5 * plain.cpu.co2e_kg)


CHANGED = {
    "pue": "3",
    "force_ram_power": "500",
    "force_cpu_power": "500",
    "force_mode_cpu_load": "true",
    "force_carbon_intensity_g_co2e_kwh": "9999",
}


@pytest.mark.parametrize("place", ["environment", "file at home", "file here"])
def test_a_users_settings_of_codecarbon_change_no_figure(offline, monkeypatch, place):
    pytest.importorskip("codecarbon")
    monkeypatch.setenv("HOME", str(offline / "home"))
    (offline / "home").mkdir()

    def measured():
        with EnergyMeter(country="FRA") as meter:
            time.sleep(0.3)
        assert meter.figures.pue == 1
        return meter.figures

    before = measured()
    if place == "environment":
        for name, value in CHANGED.items():
            monkeypatch.setenv(f"CODECARBON_{name.upper()}", value)
    else:
        folder = offline / "home" if place == "file at home" else offline
        lines = [f"{name}={value}" for name, value in CHANGED.items()]
        (folder / ".codecarbon.config").write_text("\n".join(["[codecarbon]", *lines]), "utf-8")
    after = measured()
    assert after.reason is None
    # A constant power, so that joules are seconds: three or 25 times as many would be another figure.
    assert after.memory.energy_joules < 2 * before.memory.energy_joules
    assert (after.cpu.source, after.cpu.detail, after.tdp_w) == (before.cpu.source, before.cpu.detail, before.tdp_w)
    intensity = [figures.memory.co2e_kg / figures.memory.energy_joules for figures in (before, after)]
    assert intensity[1] == pytest.approx(intensity[0], rel=1e-3)


def test_the_countries_are_three_letter_codes():
    pytest.importorskip("codecarbon")
    assert {"FRA", "DEU", "USA"} <= countries()
    assert all(len(code) == 3 and code.isupper() for code in countries())
