"""Times of penalties on Jacobians: ours against the closed form by hand, and against JAX's
`vmap(jacrev)` and `vmap(jacfwd)`.

    cargo build --release
    python benches/jacobian.py --python path/to/venv/bin/python

Encoders of one, two and three sigmoid layers, batch 64, f32. Ours is a whole training step with Adam
and the batch's rows, JAX's its value and gradient alone. Programs take turns, and of each the least
time counts, since other programs on the machine only add. `gradients.py` compares the gradients,
`compiler/cli/tests/arithmetic.rs` counts the arithmetic. Without JAX only ours are compared.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
# Of each case: the encoder's sizes, and how many times faster than the better of JAX's it is to be.
CASES = {
    "contractive_jac": ([784, 256], 2.5),
    "contractive_deep": ([784, 256, 64], 2.5),
    "contractive_deep3": ([784, 512, 256, 64], 1.0),
}
# The time of the generic penalty as a multiple of the closed form's.
MOST = 1.3


def peer(sizes, batch, mode, budget):
    """Times of JAX's step, as JSON on standard output; run in the Python that has it."""
    import time
    import jax
    import jax.numpy as jnp

    keys = iter(jax.random.split(jax.random.key(0), 8))
    draw = lambda shape, scale: scale * jax.random.normal(next(keys), shape)
    pairs = list(zip(sizes, sizes[1:]))
    weights = [draw((m, n), (2 / (n + m)) ** 0.5) for n, m in pairs]
    back = [draw((n, m), (2 / (n + m)) ** 0.5) for n, m in reversed(pairs)] if len(pairs) > 1 else []
    x = jax.nn.sigmoid(draw((batch, sizes[0]), 1.0))
    jac = {"jacrev": jax.jacrev, "jacfwd": jax.jacfwd}[mode]

    def encode(weights, x):
        for w in weights:
            x = jax.nn.sigmoid(w @ x)
        return x

    def loss(params):
        weights, back = params
        j = jax.vmap(jac(lambda x: encode(weights, x)))(x)
        h = jax.vmap(lambda x: encode(weights, x))(x)
        # One layer is tied, as in `nets.Contractive`.
        y = jax.vmap(lambda h: encode(back or [weights[0].T], h))(h)
        return jnp.mean((y - x) ** 2) + 0.1 * jnp.mean(jnp.sum(j**2, (1, 2)))

    step = jax.jit(jax.value_and_grad(loss))
    params = (weights, back)
    jax.block_until_ready(step(params))
    times = []
    end = time.perf_counter() + budget
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        jax.block_until_ready(step(params))
        times.append(time.perf_counter() - start)
    print(json.dumps({"least_us": min(times) * 1e6}))


def said(command, **more):
    """The JSON that a program ends with."""
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--aec", default=str(ROOT / "target" / "release" / "aec"))
    ap.add_argument("--python", default=sys.executable, help="a Python that has jax")
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--budget", type=float, default=0.5, help="seconds of timed steps a run")
    ap.add_argument("--peer", help=argparse.SUPPRESS)
    a = ap.parse_args()
    if a.peer:
        return peer(**json.loads(a.peer))

    def ours(case):
        command = [a.aec, "bench", str(HERE / f"{case}.ae"), "--threads", str(a.threads), "--budget", str(a.budget)]
        return said(command)["least_us"]

    def theirs(sizes, mode):
        env = dict(os.environ)
        if a.threads == 1:
            env["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        what = {"sizes": sizes, "batch": 64, "mode": mode, "budget": a.budget}
        return said([a.python, __file__, "--peer", json.dumps(what)], env=env)["least_us"]

    def least(programs):
        times = {name: [] for name in programs}
        for _ in range(a.rounds):
            for name, program in programs.items():
                times[name].append(program())
        return {name: min(found) for name, found in times.items()}

    failed = []
    found = least({case: lambda case=case: ours(case) for case in ["contractive", "contractive_jac"]})
    ratio = found["contractive_jac"] / found["contractive"]
    print(f"closed form {found['contractive'] / 1e3:.2f} ms, by jacobian {found['contractive_jac'] / 1e3:.2f} ms, "
          f"{ratio:.2f} times, to be at most {MOST}; {a.threads} thread(s)", flush=True)
    if ratio > MOST:
        failed.append("closed form")
    if subprocess.run([a.python, "-c", "import jax"], capture_output=True).returncode:
        print(f"skipped the rest: {a.python} has no jax")
    else:
        for case, (sizes, wanted) in CASES.items():
            programs = {"ours": lambda case=case: ours(case)}
            for mode in ["jacrev", "jacfwd"]:
                programs[mode] = lambda sizes=sizes, mode=mode: theirs(sizes, mode)
            found = least(programs)
            ratio = min(found["jacrev"], found["jacfwd"]) / found["ours"]
            times = ", ".join(f"{name} {time / 1e3:.2f} ms" for name, time in found.items())
            print(f"{case}: {times}; {ratio:.1f} times faster, to be at least {wanted}", flush=True)
            if ratio < wanted:
                failed.append(case)
    if failed:
        sys.exit(f"too slow: {', '.join(failed)}")


if __name__ == "__main__":
    main()
