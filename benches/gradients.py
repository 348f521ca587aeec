"""Gradients of the peers' models by every parameter, ours against JAX's, on the same inputs and weights.

    cargo build --release
    python benches/gradients.py --python path/to/venv/bin/python

A script of ours draws the weights, the data and what the loss would draw itself (noise, masks, wrong
words; here they are arguments), writes them beside the gradient, and JAX takes its own gradient from
the files. Of each parameter the largest difference may be 1e-4 of its largest entry, in f32; in f64,
where penalties on Jacobians are taken (JAX: `vmap(jacrev)`), 1e-12. Says so and stops where JAX is
absent.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
TOLERANCE = 1e-4
TOLERANCE_F64 = 1e-12

# The losses of `nets.ae` that draw, with the draw as an argument.
GIVEN = """
use nets
model Denoising(d: list[int]) {
  param net: nets.Net(d)
  loss(x: [n], noise: [n]) = mean((sigmoid(net(x + noise)) - x)^2)
}
model Vae(D, H, Z) {
  param e1: nets.Layer(D, H)
  param e2: nets.Layer(H, 2*Z)
  param d1: nets.Layer(Z, H)
  param d2: nets.Layer(H, D)
  loss(x: [D], eps: [Z]) {
    let (mu, logvar) = split(e2(relu(e1(x))), 2)
    bce_logits(d2(relu(d1(mu + exp(logvar / 2) * eps))), x) + kl_normal(mu, logvar)
  }
}
model Skipgram(V, E) {
  param centre: [V, E] ~ uniform(-0.5, 0.5)
  param around: [V, E] ~ uniform(-0.5, 0.5)
  loss(w: token, c: token, n: token[5]) {
    let wrong = around[n]
    -log_sigmoid(centre[w] @ around[c]) - sum(log_sigmoid(-(wrong @ centre[w])))
  }
}
model TransformerMlm(V, T, d, f) {
  param embed: [V, d] ~ normal(0, 0.1)
  param place: [T, d] ~ normal(0, 0.1)
  param blocks: [nets.Block(d, f, 4) for _ in 0..2]
  param ln: nn.LayerNorm(d)
  param out: [V, d] ~ glorot_normal
  loss(t: token[T], u: [T]) {
    let x = embed[select(u < 0.15, V - 1, t)] + place
    let y = ln(reduce(fn h, block -> block(h), x, blocks))
    let masked = real(u < 0.15)
    let ce = cross_entropy(map(fn row -> out @ row, y), t)
    sum(ce * masked) / max(batch_mean(sum(masked)), 1e-3)
  }
}
"""

IMAGES = """
let z: [{batch}, 16] ~ normal(0, 1)
let mix: [16, 784] ~ normal(0, 1)
let a = sigmoid(z @ mix)
"""
OBSERVED = IMAGES + """
let u: [{batch}, 784] ~ uniform(0, 1)
let b = real(u < 0.7)
"""
TEXTS = """
let first: [{batch}] ~ uniform(0, {words})
let step: [{batch}, {length}] ~ uniform(0, 3)
let a = map(fn s, d -> mod(int(floor(s)) + 7 * (0..{length}) + int(floor(d)), {words}), first, step)
"""

# Of each case: the model, its data as `a`, `b` and `c`, how many of them there are, the batch.
CASES = {
    "ae_mlp": ("nets.Auto([784, 128, 32, 128, 784])", IMAGES, 1, 128),
    "vae": ("Vae(784, 400, 20)", IMAGES + "let b: [{batch}, 20] ~ normal(0, 1)", 2, 128),
    "dae_deep": ("Denoising([784, 1000, 500, 250, 30, 250, 500, 1000, 784])",
                 IMAGES + "let b: [{batch}, 784] ~ normal(0, 0.3)", 2, 128),
    "contractive": ("nets.ContractiveClosed(784, 256, 0.1)", IMAGES, 1, 64),
    "contractive_jac": ("nets.Contractive(784, 256, 0.1)", IMAGES, 1, 64),
    "masked_ls": ("nets.MaskedLs(64, 16)", """
let basis: [16, 64] ~ normal(0, 1)
let codes: [{batch}, 16] ~ normal(0, 0.25)
let u: [{batch}, 64] ~ uniform(0, 1)
let a = codes @ basis
let b = real(u < 0.7)
""", 2, 128),
    "unrolled_gd": ("nets.UnrolledGd(784, 64)", OBSERVED, 2, 128),
    "conv_ae": ("nets.ConvAuto(28, 28, 1, 16, 32)", IMAGES, 1, 64),
    "gru_lm": ("nets.GruLm(1000, 128, 256)", TEXTS.replace("{words}", "1000").replace("{length}", "33"), 1, 32),
    "skipgram_ns": ("Skipgram(20000, 100)", """
let w: [{batch}] ~ uniform(0, 20000)
let v: [{batch}] ~ uniform(0, 20000)
let n: [{batch}, 5] ~ uniform(0, 20000)
let a = int(floor(w))
let b = int(floor(v))
let c = int(floor(n))
""", 3, 1024),
    "transformer_mlm": ("TransformerMlm(1000, 64, 128, 512)",
                        TEXTS.replace("{words}", "999").replace("{length}", "64") + "let b: [{batch}, 64] ~ uniform(0, 1)",
                        2, 16),
}

# Expressions of Jacobians, as models.
JACOBIANS = """
model Trace(D, H) {
  param W: [H, D] ~ glorot_normal
  param V: [D, H] ~ glorot_normal
  loss(x: [D]) = trace(jacobian(fn x -> V @ tanh(W @ x))(x))
}
model Residual(D, H) {
  param W: [H, D] ~ glorot_normal
  param V: [D, H] ~ glorot_normal
  loss(x: [D]) = sum(jacobian(fn x -> x + V @ tanh(W @ x))(x)^2)
}
model Masked(D, H) {
  param W: [H, D] ~ glorot_normal
  loss(x: [D], m: [D]) = sum(jacobian(fn x -> sigmoid(W @ (m * x)))(x)^2)
}
model Diagonal(D) {
  param s: [D] ~ uniform(0.5, 1.5)
  loss(x: [D]) = sum(jacobian(fn x -> tanh(s * x))(x)^2)
}
model Decoder(D, H) {
  param V: [D, H] ~ glorot_normal
  loss(h: [H]) = sum(jacobian(fn h -> sigmoid(V @ h))(h)^2)
}
model Gram(D, H) {
  param W: [H, D] ~ glorot_normal
  loss(x: [D]) {
    let J = jacobian(fn x -> sigmoid(W @ x))(x)
    sum((J @ J')^2)
  }
}
model Change(D, H) {
  param W: [H, D] ~ glorot_normal
  loss(x: [D], noise: [D]) {
    let J = jacobian(fn x -> sigmoid(W @ x))
    sum((J(x) - J(x + noise))^2)
  }
}
"""
NOISY = IMAGES + "let b: [{batch}, 784] ~ normal(0, 0.3)"

# The same of those in f64.
EXACT = {
    "penalty_closed": ("nets.ContractiveClosed(784, 256, 0.1)", IMAGES, 1, 64),
    "penalty": ("nets.Contractive(784, 256, 0.1)", IMAGES, 1, 64),
    "penalty_two": ("nets.ContractiveDeep([784, 256, 64], [64, 256, 784], 0.1)", IMAGES, 1, 64),
    "penalty_three": ("nets.ContractiveDeep([784, 512, 256, 64], [64, 256, 512, 784], 0.1)", IMAGES, 1, 16),
    "trace": ("Trace(784, 256)", IMAGES, 1, 16),
    "residual": ("Residual(784, 256)", IMAGES, 1, 16),
    "masked": ("Masked(784, 256)", OBSERVED, 2, 64),
    "diagonal": ("Diagonal(784)", IMAGES, 1, 16),
    "decoder": ("Decoder(784, 256)", "let a: [{batch}, 256] ~ normal(0, 1)", 1, 64),
    "gram": ("Gram(784, 256)", IMAGES, 1, 64),
    "change": ("Change(784, 256)", NOISY, 2, 64),
}
ALL = CASES | EXACT


def ours(aec, case, folder):
    """Writes the weights, the gradient and the data of a case into a folder; gives the loss."""
    model, data, count, batch = ALL[case]
    names = "abc"[:count]
    exports = "\n".join(f'export({name}, "{folder}/{name}.npy")' for name in names)
    text = f"""use nn
{GIVEN}{JACOBIANS if case in EXACT else ""}
{data.replace("{batch}", str(batch))}
let m = {model}
save(m, "{folder}/weights.safetensors")
{exports}
let (value, g) = value_and_grad(fn m -> mean(m.loss({", ".join(names)})))(m)
save(g, "{folder}/gradient.safetensors")
print "{{value:.17}}"
"""
    script = folder / "case.ae"
    script.write_text(text)
    shutil.copy(HERE / "nets.ae", folder)
    options = ["--f64"] if case in EXACT else []
    done = subprocess.run([aec, "run", str(script), *options], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout.split()[-1])


def read(path):
    """The tensors of a safetensors file by name."""
    import numpy as np
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    head = json.loads(raw[8:8 + length])
    head.pop("__metadata__", None)
    tensors = {}
    for name, entry in head.items():
        start, end = entry["data_offsets"]
        kind = {"F32": np.float32, "F64": np.float64}[entry["dtype"]]
        tensors[name] = np.frombuffer(raw[8 + length + start:8 + length + end], kind).reshape(entry["shape"])
    return tensors


def losses():
    """The mean loss of a batch by case: `loss(p, a, b, c)`, p the parameters by name."""
    import jax
    import jax.numpy as jnp
    from jax import lax, nn

    def layer(p, name, x):
        return x @ p[f"{name}.W"].T + p[f"{name}.b"]

    def net(p, x):
        count = sum(name.endswith(".W") for name in p)
        for at in range(count):
            x = layer(p, f"net.layers.{at}", x)
            x = nn.relu(x) if at < count - 1 else x
        return x

    def mse(a, b):
        return jnp.mean((a - b) ** 2)

    def ae_mlp(p, x):
        return mse(nn.sigmoid(net(p, x)), x)

    def dae_deep(p, x, noise):
        return mse(nn.sigmoid(net(p, x + noise)), x)

    def vae(p, x, eps):
        mu, lv = jnp.split(layer(p, "e2", nn.relu(layer(p, "e1", x))), 2, -1)
        o = layer(p, "d2", nn.relu(layer(p, "d1", mu + jnp.exp(lv / 2) * eps)))
        bce = jnp.sum(jnp.maximum(o, 0) - o * x + jnp.log1p(jnp.exp(-jnp.abs(o))))
        return (bce - 0.5 * jnp.sum(1 + lv - mu**2 - jnp.exp(lv))) / x.shape[0]

    def encoder(p, x):
        return nn.sigmoid(x @ p["W"].T + p["b"])

    def contractive_jac(p, x):
        h = encoder(p, x)
        j = jax.vmap(jax.jacrev(lambda x: encoder(p, x)))(x)
        return mse(nn.sigmoid(h @ p["W"] + p["c"]), x) + 0.1 * jnp.mean(jnp.sum(j**2, (1, 2)))

    def contractive(p, x):
        h = encoder(p, x)
        penalty = jnp.mean(((h * (1 - h)) ** 2) @ jnp.sum(p["W"] ** 2, 1))
        return mse(nn.sigmoid(h @ p["W"] + p["c"]), x) + 0.1 * penalty

    def masked_ls(p, x, m):
        B = p["B"]
        A = (B.T[None] * m[:, None, :]) @ B + 1e-3 * jnp.eye(16)
        code = jnp.linalg.solve(A, ((m * x) @ B)[..., None])[..., 0]
        return mse(code @ B.T, x)

    def unrolled_gd(p, x, m):
        B = p["B"]
        code = jnp.zeros((x.shape[0], 64))
        for _ in range(10):
            code = code + 0.5 * ((m * (x - code @ B.T)) @ B)
        return mse(code @ B.T, x)

    def down(W, x):
        # A piece is (row, column, channel).
        kernel = W.reshape(W.shape[0], 3, 3, -1).transpose(1, 2, 3, 0)
        dims = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=dims)

    def up(W, x):
        b, n, m, _ = x.shape
        like = jnp.zeros((b, 2 * n, 2 * m, W.shape[1] // 9))
        return jax.vjp(lambda y: down(W, y), like)[1](x)[0]

    def conv_ae(p, x):
        x = x.reshape(-1, 28, 28, 1)
        h = nn.relu(down(p["a.kernel.W"], x) + p["a.kernel.b"])
        h = nn.relu(down(p["b.kernel.W"], h) + p["b.kernel.b"])
        h = nn.relu(up(p["c.W"], h) + p["c.b"])
        return mse(up(p["d.W"], h) + p["d.b"], x)

    def xent(logits, y):
        return nn.logsumexp(logits, axis=-1) - jnp.take_along_axis(logits, y[..., None], -1)[..., 0]

    def gru_lm(p, t):
        def step(h, gi):
            gh = layer(p, "h", h)
            r, z = jnp.split(nn.sigmoid(gi[..., :512] + gh[..., :512]), 2, -1)
            n = jnp.tanh(gi[..., 512:] + r * gh[..., 512:])
            h = n + z * (h - n)
            return h, h

        gi = layer(p, "i", p["embed"][t[:, :-1].T])
        _, hs = lax.scan(step, jnp.zeros((t.shape[0], 256)), gi)
        return jnp.mean(xent(layer(p, "out", hs), t[:, 1:].T))

    def skipgram_ns(p, w, c, n):
        u, v, wrong = p["centre"][w], p["around"][c], p["around"][n]
        right, others = jnp.sum(u * v, -1), jnp.einsum("bd,bkd->bk", u, wrong)
        return -(jnp.sum(nn.log_sigmoid(right)) + jnp.sum(nn.log_sigmoid(-others))) / w.shape[0]

    def ln(p, name, x):
        x = x - jnp.mean(x, -1, keepdims=True)
        return x * lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-5) * p[f"{name}.g"] + p[f"{name}.b"]

    def transformer_mlm(p, t, u):
        b, s = t.shape
        mask = u < 0.15
        x = p["embed"][jnp.where(mask, 999, t)] + p["place"]
        for at in range(2):
            of = f"blocks.{at}"
            q, k, v = jnp.moveaxis((ln(p, f"{of}.ln1", x) @ p[f"{of}.qkv"].T).reshape(b, s, 3, 4, 32), 2, 0)
            weights = nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) * 32**-0.5, -1)
            x = x + jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(b, s, 128) @ p[f"{of}.o"].T
            h = nn.gelu(layer(p, f"{of}.f1", ln(p, f"{of}.ln2", x)), approximate=True)
            x = x + layer(p, f"{of}.f2", h)
        ce = xent(ln(p, "ln", x) @ p["out"].T, t)
        return jnp.sum(ce * mask) / jnp.maximum(jnp.sum(mask), 1)

    def jacobians(f, *xs):
        return jax.vmap(jax.jacrev(f))(*xs)

    def penalty_deep(p, x):
        def encode(x):
            at = 0
            while f"enc.{at}.W" in p:
                x, at = nn.sigmoid(layer(p, f"enc.{at}", x)), at + 1
            return x

        def decode(h):
            at = 0
            while f"dec.{at}.W" in p:
                h, at = nn.sigmoid(layer(p, f"dec.{at}", h)), at + 1
            return h

        return mse(decode(encode(x)), x) + 0.1 * jnp.sum(jacobians(encode, x)**2) / x.shape[0]

    def trace(p, x):
        j = jacobians(lambda x: p["V"] @ jnp.tanh(p["W"] @ x), x)
        return jnp.mean(jnp.trace(j, axis1=1, axis2=2))

    def residual(p, x):
        return jnp.sum(jacobians(lambda x: x + p["V"] @ jnp.tanh(p["W"] @ x), x)**2) / x.shape[0]

    def masked(p, x, m):
        return jnp.sum(jacobians(lambda x, m: nn.sigmoid(p["W"] @ (m * x)), x, m)**2) / x.shape[0]

    def diagonal(p, x):
        return jnp.sum(jacobians(lambda x: jnp.tanh(p["s"] * x), x)**2) / x.shape[0]

    def decoder(p, h):
        return jnp.sum(jacobians(lambda h: nn.sigmoid(p["V"] @ h), h)**2) / h.shape[0]

    def gram(p, x):
        j = jacobians(lambda x: nn.sigmoid(p["W"] @ x), x)
        return jnp.sum((j @ j.transpose(0, 2, 1))**2) / x.shape[0]

    def change(p, x, noise):
        def encode(x):
            return nn.sigmoid(p["W"] @ x)

        return jnp.sum((jacobians(encode, x) - jacobians(encode, x + noise))**2) / x.shape[0]

    by_name = {"penalty_closed": contractive, "penalty": contractive_jac, "penalty_two": penalty_deep,
               "penalty_three": penalty_deep}
    rest = [ae_mlp, vae, dae_deep, contractive, contractive_jac, masked_ls, unrolled_gd, conv_ae, gru_lm, skipgram_ns,
            transformer_mlm, trace, residual, masked, diagonal, decoder, gram, change]
    return by_name | {f.__name__: f for f in rest}


def peer(case, folder):
    """JAX's loss, and by parameter the largest difference of our gradient as a part of its largest
    entry, as JSON on standard output; run in the Python that has it."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    jax.config.update("jax_enable_x64", case in EXACT)
    real = jnp.float64 if case in EXACT else jnp.float32
    folder = pathlib.Path(folder)
    data = [np.load(folder / f"{name}.npy") for name in "abc"[:ALL[case][2]]]
    data = [jnp.asarray(x) if x.dtype.kind == "i" else jnp.asarray(x, real) for x in data]
    weights = {name: jnp.asarray(x) for name, x in read(folder / "weights.safetensors").items()}
    value, gradient = jax.value_and_grad(losses()[case])(weights, *data)
    ours = read(folder / "gradient.safetensors")
    assert ours.keys() == gradient.keys(), (ours.keys(), gradient.keys())
    errors = {}
    for name, theirs in gradient.items():
        theirs = np.asarray(theirs)
        errors[name] = float(np.abs(ours[name] - theirs).max() / np.abs(theirs).max())
    print(json.dumps({"value": float(value), "errors": errors}))


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("cases", nargs="*", default=list(ALL))
    ap.add_argument("--aec", default=str(ROOT / "target" / "release" / "aec"))
    ap.add_argument("--python", default=sys.executable, help="a Python that has jax")
    ap.add_argument("--peer", help=argparse.SUPPRESS)
    a = ap.parse_args()
    if a.peer:
        return peer(a.cases[0], a.peer)
    if subprocess.run([a.python, "-c", "import jax"], capture_output=True).returncode:
        print(f"skipped: {a.python} has no jax")
        return
    failed = []
    for case in a.cases:
        with tempfile.TemporaryDirectory() as folder:
            value = ours(a.aec, case, pathlib.Path(folder))
            command = [a.python, __file__, case, "--peer", folder]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            theirs = json.loads(done.stdout.splitlines()[-1])
        worst = max(theirs["errors"], key=theirs["errors"].get)
        off = abs(value - theirs["value"]) / abs(theirs["value"])
        error = theirs["errors"][worst]
        print(f"{case}{' in f64' if case in EXACT else ''}: loss {value:.6f}, off by {off:.0e}; {len(theirs['errors'])} parameters, "
              f"largest difference {error:.1e} ({worst})", flush=True)
        tolerance = TOLERANCE_F64 if case in EXACT else TOLERANCE
        if not (error <= tolerance and off <= tolerance):
            failed.append(case)
    if failed:
        sys.exit(f"our gradients differ from JAX's: {', '.join(failed)}")


if __name__ == "__main__":
    main()
