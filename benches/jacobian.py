"""Gradients and times of penalties on Jacobians, ours against JAX's `vmap(jacrev)` and `vmap(jacfwd)`.

    cargo build --release
    python benches/jacobian.py --python path/to/venv/bin/python

For encoders of one, two and three sigmoid layers, batch 64: in f64 the value and the gradient by
every parameter must agree with JAX on the same weights (a script of ours prints their products with
fixed numbers); in f32 the time of our whole training step (with Adam and the batch's rows) stands
beside JAX's value and gradient alone. Says so and stops where JAX is absent.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
CASES = {"contractive_jac": [784, 256], "contractive_deep": [784, 256, 64], "contractive_deep3": [784, 512, 256, 64]}

# Weights, inputs and probes are `scale * sin(a * i + b * j + c)`, which both sides can write.
SCRIPT = """
fn wave(a: real, b: real, c: real, n, m, scale: real) = map(fn i -> map(fn j -> scale * sin(a*real(i) + b*real(j) + c), 0..m), 0..n)
model Layer(n, m) {{
  param W: [m, n] = 0
  param b: [m] = 0
  apply(x: [n]) -> [m] = sigmoid(W @ x + b)
}}
model Net(e: list[int]) {{
  param enc: [Layer(e[i], e[i+1]) for i in 0..len(e)-1]
  encoder(x: [n]) = reduce(fn h, layer -> layer(h), x, enc)
  loss(x: [n]) = sum(encoder(x)^2) + 0.1 * sum(jacobian(encoder)(x)^2)
}}
let x = wave(0.7, 1.3, 0.1, {batch}, {d}, 1.0)
{layers}
let net = with(Net({sizes}), enc = [{names}])
let g = grad(fn m -> mean(m.loss(x)))(net)
print "{{mean(net.loss(x)):.17}}"
{prints}
"""


def check(aec, sizes, batch):
    """Our value and products of gradients with probes, in f64."""
    layers, prints = [], []
    for at, (n, m) in enumerate(zip(sizes, sizes[1:])):
        layers.append(f"let l{at} = with(Layer({n}, {m}), W = wave({1.1 + at}, {0.9 - 0.2 * at}, 0.3, {m}, {n}, {2 / n**0.5}))")
        prints.append(f'print "{{sum(g.enc[{at}].W * wave(0.3, 1.7, 0.5, {m}, {n}, 1.0)):.17}}"')
    text = SCRIPT.format(batch=batch, d=sizes[0], layers="\n".join(layers), sizes=sizes,
                         names=", ".join(f"l{at}" for at in range(len(layers))), prints="\n".join(prints))
    with tempfile.NamedTemporaryFile("w", suffix=".ae", delete=False) as file:
        file.write(text)
    done = subprocess.run([aec, "run", file.name, "--f64"], capture_output=True, text=True)
    os.unlink(file.name)
    if done.returncode:
        sys.exit(done.stderr)
    return [float(line) for line in done.stdout.split()]


def peer(sizes, batch, mode, check):
    """What JAX finds, as JSON on standard output; run in the Python that has it."""
    import time
    import jax
    import jax.numpy as jnp
    jax.config.update("jax_enable_x64", check)
    real = jnp.float64 if check else jnp.float32

    def wave(a, b, c, n, m, scale):
        return (scale * jnp.sin(a * jnp.arange(n)[:, None] + b * jnp.arange(m)[None, :] + c)).astype(real)

    weights = [wave(1.1 + at, 0.9 - 0.2 * at, 0.3, m, n, 2 / n**0.5) for at, (n, m) in enumerate(zip(sizes, sizes[1:]))]
    probes = [wave(0.3, 1.7, 0.5, m, n, 1.0) for n, m in zip(sizes, sizes[1:])]
    x = wave(0.7, 1.3, 0.1, batch, sizes[0], 1.0)

    def encoder(weights, x):
        for w in weights:
            x = jax.nn.sigmoid(w @ x)
        return x

    jac = {"jacrev": jax.jacrev, "jacfwd": jax.jacfwd}[mode]

    def loss(weights):
        j = jax.vmap(jac(lambda x: encoder(weights, x)))(x)
        h = jax.vmap(lambda x: encoder(weights, x))(x)
        return jnp.mean(jnp.sum(h**2, 1)) + 0.1 * jnp.mean(jnp.sum(j**2, (1, 2)))

    step = jax.jit(jax.value_and_grad(loss))
    value, grads = jax.block_until_ready(step(weights))
    result = {"value": float(value), "products": [float(jnp.sum(g * p)) for g, p in zip(grads, probes)]}
    if not check:
        times = []
        for _ in range(12):
            start = time.perf_counter()
            jax.block_until_ready(step(weights))
            times.append(time.perf_counter() - start)
        result["median_us"] = sorted(times)[len(times) // 2] * 1e6
    print(json.dumps(result))


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--aec", default=str(ROOT / "target" / "release" / "aec"))
    ap.add_argument("--python", default=sys.executable, help="a Python that has jax")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--peer", help=argparse.SUPPRESS)
    a = ap.parse_args()
    if a.peer:
        return peer(**json.loads(a.peer))
    if subprocess.run([a.python, "-c", "import jax"], capture_output=True).returncode:
        print(f"skipped: {a.python} has no jax")
        return

    def jax_says(**what):
        env = dict(os.environ)
        if a.threads == 1:
            env["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        command = [a.python, __file__, "--peer", json.dumps(what)]
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        if done.returncode:
            sys.exit(done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    worst = 0
    for sizes in [[20, 12], [20, 12, 8], [20, 16, 12, 8], [784, 256]]:
        ours = check(a.aec, sizes, 16)
        theirs = jax_says(sizes=sizes, batch=16, mode="jacrev", check=True)
        theirs = [theirs["value"], *theirs["products"]]
        error = max(abs(x - y) / max(abs(x), abs(y)) for x, y in zip(ours, theirs))
        worst = max(worst, error)
        print(f"{sizes}: largest relative difference in f64 {error:.1e}")
    if worst > 1e-12:
        sys.exit("our gradients differ from JAX's")
    for case, sizes in CASES.items():
        command = [a.aec, "bench", str(HERE / f"{case}.ae"), "--threads", str(a.threads), "--budget", "2"]
        ours = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)["median_us"]
        theirs = {mode: jax_says(sizes=sizes, batch=64, mode=mode, check=False)["median_us"] for mode in ["jacrev", "jacfwd"]}
        times = ", ".join(f"{mode} {time / 1e3:.1f}" for mode, time in theirs.items())
        print(f"{case}, {a.threads} thread(s): ours {ours / 1e3:.1f} ms, {times} ms, {min(theirs.values()) / ours:.1f} times")


if __name__ == "__main__":
    main()
