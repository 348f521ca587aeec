"""Compares builds of ours on a case, step by step of its plan, taking turns.

    python benches/compare.py ae_mlp_b1024 path/to/old/aec target/release/aec

Prints the median and the lowest decile of a whole training step in microseconds, then for every
step of the plan that takes a hundredth of it or more its lowest decile under each build, best of
the rounds: what another program on the machine adds is left out as far as possible. Plans of
different builds are lined up by position, so that the last columns are only as good as the plans
are alike.

    python benches/compare.py tiny path/to/old/aec target/release/aec --instructions

counts instructions instead, for what is too short to time: two runs of the script under
`valgrind --tool=callgrind`, one with twenty epochs more, make the instructions of an epoch. Valgrind
knows no AVX-512: what is counted is the AVX2 tiles and the 128-bit kernels.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


def measure(aec, case, a):
    """One run: its figures, and the time and text of each step of the plan."""
    command = [aec, "bench", str(HERE / f"{case}.ae"), "--threads", str(a.threads), "--budget", str(a.budget), "--by-step"]
    if a.threads == 1 and shutil.which("taskset"):
        command = ["taskset", "-c", "0", *command]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    steps = []
    for line in lines[1:]:
        time, _, rest = line.partition(" us ")
        steps.append((float(time), rest.split("GFLOP/s", 1)[1].strip()))
    return json.loads(lines[0]), steps


MORE_EPOCHS = 20


def instructions(aec, case):
    """Instructions of one epoch of a case."""
    script = (HERE / f"{case}.ae").read_text(encoding="utf-8")
    counts = []
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(HERE / "nets.ae", folder)
        for more in [0, MORE_EPOCHS]:
            text = re.sub(r"(epochs\s*=\s*)(\d+)", lambda m: f"{m[1]}{int(m[2]) + more}", script)
            path = pathlib.Path(folder, f"{case}.ae")
            path.write_text(text, encoding="utf-8")
            command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", aec, "run", str(path), "--threads", "1"]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
            counts.append(int(re.search(r"Collected : (\d+)", said)[1]))
    return (counts[1] - counts[0]) / MORE_EPOCHS


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("case")
    ap.add_argument("builds", nargs="+", help="binaries of aec")
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--budget", type=float, default=1.0, help="seconds of timed steps a run")
    ap.add_argument("--instructions", action="store_true", help="count instructions by valgrind")
    a = ap.parse_args()
    if a.instructions:
        if not shutil.which("valgrind"):
            sys.exit("valgrind is absent")
        for build in a.builds:
            print(f"{instructions(build, a.case):12,.0f} instructions an epoch  {build}")
        return
    runs = {build: [] for build in a.builds}
    for _ in range(a.rounds):
        for build in a.builds:
            runs[build].append(measure(build, a.case, a))
    for build in a.builds:
        median = min(figures["median_us"] for figures, _ in runs[build])
        low = min(figures["p10_us"] for figures, _ in runs[build])
        print(f"{median:10.0f} median {low:10.0f} lowest decile  {build}")
    times = [[min(step) for step in zip(*([time for time, _ in steps] for _, steps in runs[build]))] for build in a.builds]
    texts = [text for _, text in runs[a.builds[-1]][0][1]]
    for at, text in enumerate(texts):
        row = [steps[at] if at < len(steps) else float("nan") for steps in times]
        if max(row) >= 0.01 * sum(times[0]):
            print("  ".join(f"{time:9.1f}" for time in row), "", text)


if __name__ == "__main__":
    main()
