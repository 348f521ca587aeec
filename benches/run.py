"""Times a training step of the peers' cases, ours beside JAX and PyTorch, and prints a table.

    cargo build --release
    python benches/run.py                                    # ours alone
    python benches/run.py --python path/to/venv/bin/python   # beside the peers found in that venv
    python benches/run.py --others                           # other models of the same kinds

Needs nothing but the standard library. The peers are those of `shared/bench/peers/run.py` (looked
for beside this repository, or where --peers says); each is left out when it cannot be imported.
Ours and theirs take turns, so that a change of the clock or another program on the machine meets
all of them; of several rounds the one with the lowest median counts. With one thread everything is
pinned to CPU 0.

The bound of a step is the arithmetic of its matrix products over what the multiply-add units did
in the same process between the steps, and the bytes of weights and optimizer state, once read and
once written, over the rate at which one core updates as much memory as the step lives in; with
more threads both rates count as often. `of bound` is the bound over our median.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
CASES = ["ae_mlp_b32", "ae_mlp_b128", "ae_mlp_b1024", "vae", "dae_deep_b128", "dae_deep_b512", "contractive",
         "contractive_jac", "masked_ls", "unrolled_gd", "conv_ae", "gru_lm", "skipgram_ns", "transformer_mlm",
         "greedy", "beam", "tiny", "elementwise_b10000", "elementwise_b1000000"]
# Other ways to run a peer, and the cases for which there are such: the dense layers of three axes flattened to two by
# hand, and a hundred steps inside one compiled loop (from which only the end of all is seen).
MODES = {
    "jax-flat": ("jax", ["gru_lm", "transformer_mlm"]),
    "jax-scan": ("jax", ["ae_mlp_b32", "ae_mlp_b128", "vae", "contractive", "masked_ls", "skipgram_ns", "tiny"]),
}
# A model of the same kind with other, odd sizes, and the case that it is held against.
OTHERS = {"other_ae_mlp": "ae_mlp_b128", "other_vae": "vae", "other_dae_deep": "dae_deep_b128",
          "other_conv_ae": "conv_ae", "other_gru_lm": "gru_lm", "other_transformer_mlm": "transformer_mlm"}


def run(command, threads, env=None):
    """Runs one case in a process of its own; its JSON line, or a dict with `error`."""
    if threads == 1 and shutil.which("taskset"):
        command = ["taskset", "-c", "0", *command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=env)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"error": str(error)}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return json.loads(lines[-1]) if lines else {"error": (done.stderr or done.stdout).strip()[-300:]}


def ours(aec, case, threads, budget):
    result = run([str(aec), "bench", str(HERE / f"{case}.ae"), "--threads", str(threads), "--budget", str(budget)], threads)
    if "error" in result:
        return result
    return {
        "median": result["median_us"], "p10": result["p10_us"], "p90": result["p90_us"],
        "start": result["first_step_s"], "rss": result["peak_rss_mb"],
        "loss1": result["loss_1"], "loss10": result["loss_10"],
        # Decoding is bound by reading the weights, for which no rate is measured.
        "bound": (result["product_flop"] / result["fma_gflops"] + result["update_bytes"] / result["update_gbps"])
        * 1e-3 / threads if result["update_bytes"] else None,
    }


def peer(python, peers, framework, case, threads, budget):
    name, _ = MODES.get(framework, (framework, None))
    how = ["--scan", "100"] if framework == "jax-scan" else []
    case = case + "_flat" if framework == "jax-flat" else case
    result = run([python, str(peers / "run.py"), "--framework", name, "--case", case,
                  "--threads", str(threads), "--budget", str(budget), *how], threads)
    if "error" in result:
        return result
    return {
        "median": result["median_step_us"], "p10": result["p10_us"], "p90": result["p90_us"],
        "start": result["start_to_first_step_s"], "rss": result["peak_rss_mb"],
        "loss1": result["loss_step1"], "loss10": result["loss_step10"],
    }


def importable(python, module):
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--aec", default=str(ROOT / "target" / "release" / "aec"), help="our binary")
    ap.add_argument("--python", default=sys.executable, help="a Python that has jax or torch")
    ap.add_argument("--peers", default=str(ROOT.parent / "shared" / "bench" / "peers"))
    ap.add_argument("--frameworks", nargs="+", default=["jax", "torch-eager"],
                    help="jax, jax-flat, jax-scan, torch-eager, torch-compile, torch-full")
    ap.add_argument("--cases", nargs="+", default=CASES)
    ap.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--budget", type=float, default=2.0, help="seconds of timed steps a run")
    ap.add_argument("--out", help="also append every run as a JSON line")
    ap.add_argument("--others", action="store_true",
                    help="measure models with odd sizes, each after the case of its kind")
    a = ap.parse_args()
    if not os.access(a.aec, os.X_OK):
        sys.exit(f"{a.aec} is absent: run `cargo build --release` first, or say --aec")
    if a.others:
        a.frameworks, a.cases = [], [case for pair in OTHERS.items() for case in reversed(pair)]
    peers = pathlib.Path(a.peers)
    frameworks = []
    for framework in a.frameworks:
        module = framework.partition("-")[0]
        if not (peers / "run.py").exists():
            print(f"{framework} is left out: {peers / 'run.py'} is absent", file=sys.stderr)
        elif not importable(a.python, module):
            print(f"{framework} is left out: {a.python} has no {module}", file=sys.stderr)
        else:
            frameworks.append(framework)

    best = {}
    for threads in a.threads:
        for case in a.cases:
            for _ in range(a.rounds):
                for who in ["aec", *frameworks]:
                    if who in MODES and case not in MODES[who][1]:
                        continue
                    if who == "aec":
                        result = ours(a.aec, case, threads, a.budget)
                    else:
                        result = peer(a.python, peers, who, case, threads, a.budget)
                    if a.out:
                        with open(a.out, "a", encoding="utf-8") as out:
                            out.write(json.dumps({"case": case, "who": who, "threads": threads, **result}) + "\n")
                    if "error" in result:
                        print(f"{who} {case}: {result['error']}", file=sys.stderr)
                        continue
                    key = (threads, case, who)
                    old = best.get(key)
                    if old is None:
                        best[key] = result
                    else:
                        start = min(old["start"], result["start"])
                        best[key] = min(old, result, key=lambda r: r["median"]) | {"start": start}
            show_row(best, threads, case, frameworks)
    for threads in a.threads:
        table(best, threads, a.cases, frameworks)
        if a.others:
            fractions(best, threads)


def show_row(best, threads, case, frameworks):
    parts = [f"{who} {best[threads, case, who]['median']:.0f}" for who in ["aec", *frameworks] if (threads, case, who) in best]
    print(f"{case}, {threads} thread(s): {', '.join(parts)} us", file=sys.stderr)


def table(best, threads, cases, frameworks):
    print(f"\nStep time in us: median (p10-p90); {threads} thread(s)\n")
    who = ["aec", *frameworks]
    print("| case | " + " | ".join(who) + " | ratio to the faster peer | bound | of bound | process start to first step, s | peak RSS, MB | loss 1 / 10 |")
    print("|---|" + "---:|" * (len(who) + 6))
    for case in cases:
        cells = [case]
        for w in who:
            r = best.get((threads, case, w))
            cells.append(f"**{r['median']:,.0f}** ({r['p10']:,.0f}-{r['p90']:,.0f})" if r else "")
        mine = best.get((threads, case, "aec"))
        others = [best[threads, case, w]["median"] for w in frameworks if (threads, case, w) in best]
        cells.append(f"{mine['median'] / min(others):.2f}" if mine and others else "")
        bound = mine and mine["bound"]
        cells.append(f"{bound:,.0f}" if bound else "")
        cells.append(f"{100 * bound / mine['median']:.0f} %" if bound else "")
        for key, form in [("start", "{:.2f}"), ("rss", "{:.0f}")]:
            cells.append(" / ".join(form.format(best[threads, case, w][key]) for w in who if (threads, case, w) in best))
        cells.append(" ; ".join(f"{best[threads, case, w]['loss1']:.5g} {best[threads, case, w]['loss10']:.5g}"
                                for w in who if (threads, case, w) in best))
        print("| " + " | ".join(cells) + " |")


def fractions(best, threads):
    """What fraction of its bound each other model reaches, beside the case of its kind."""
    print(f"\nFraction of the bound reached; {threads} thread(s)\n")
    print("| model | of bound | case of its kind | of bound | quotient |")
    print("|---|---:|---|---:|---:|")
    for other, case in OTHERS.items():
        pair = [best.get((threads, name, "aec")) for name in (other, case)]
        if all(pair):
            x, y = (r["bound"] / r["median"] for r in pair)
            print(f"| {other} | {100 * x:.0f} % | {case} | {100 * y:.0f} % | {x / y:.2f} |")


if __name__ == "__main__":
    main()
