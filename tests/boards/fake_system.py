"""A folder with what Linux and a Raspberry Pi say of themselves, to put in front of the real paths."""

from pathlib import Path

CPU = "sys/devices/system/cpu"


class FakeSystem:
    """Four little cores and two big ones, of which one is switched off; two zones, a counter of energy, a fan."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for core in range(6):
            folder = f"{CPU}/cpu{core}"
            self.write(f"{folder}/cpu_capacity", 446 if core < 4 else 1024)
            self.write(f"{folder}/cpufreq/scaling_governor", "ondemand")
            self.write(f"{folder}/cpufreq/scaling_cur_freq", 1_500_000 if core < 4 else 2_400_000)
            self.write(f"{folder}/cpufreq/cpuinfo_min_freq", 600_000)
            self.write(f"{folder}/cpufreq/cpuinfo_max_freq", 1_800_000 if core < 4 else 2_400_000)
        self.write(f"{CPU}/cpu1/online", 1)
        self.write(f"{CPU}/cpu5/online", 0)
        (root / CPU / "cpufreq").mkdir()
        (root / CPU / "cpuidle").mkdir()
        self.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal")
        self.write("sys/class/thermal/thermal_zone0/temp", 48_312)
        self.write("sys/class/thermal/thermal_zone1/type", "off")
        self.write("sys/class/thermal/thermal_zone2/type", "gpu")
        self.write("sys/class/thermal/thermal_zone2/temp", -5_000)
        self.write("sys/class/thermal/cooling_device0/type", "pwm-fan")
        self.write("sys/class/thermal/cooling_device0/cur_state", 4)
        self.write("sys/class/powercap/intel-rapl:0/name", "package-0")
        self.write("sys/class/powercap/intel-rapl:0/energy_uj", 262_143_328_000)
        self.write("sys/class/powercap/intel-rapl:0/max_energy_range_uj", 262_143_328_850)
        self.write("sys/class/powercap/intel-rapl:0:0/name", "core")
        self.write("sys/class/powercap/intel-rapl:0:0/energy_uj", 77)
        self.write("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
        self.vcgencmd("echo throttled=0x50000")

    def write(self, path: str, value: object) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")

    def rails(self, monitor: str, chip: str = "ina3221", **rails: tuple[int, int]) -> None:
        """A sensor of power: millivolts and milliamperes of each rail by its label."""
        self.write(f"sys/class/hwmon/{monitor}/name", chip)
        for channel, (label, (volts, amperes)) in enumerate(rails.items(), start=1):
            self.write(f"sys/class/hwmon/{monitor}/in{channel}_label", label)
            self.write(f"sys/class/hwmon/{monitor}/in{channel}_input", volts)
            self.write(f"sys/class/hwmon/{monitor}/curr{channel}_input", amperes)

    def vcgencmd(self, script: str) -> None:
        self.write("usr/bin/vcgencmd", f'#!/bin/sh\n[ "$1" = get_throttled ] || exit 1\n{script}')
        (self.root / "usr/bin/vcgencmd").chmod(0o755)
