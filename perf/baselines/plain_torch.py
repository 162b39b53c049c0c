#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times the loss in plain torch operations, forward and backward, beside the rates of the machine: what ./himo bench gpu is compared with.

Two forms, both differentiated by autograd. `svd` has the authors' structure: singular vectors of the centred texts, three host reads, four products and
four cross entropies. `eigh` is the fastest exact form in plain operations that is known to us: eigenvectors of the smaller side, one product per
pair of cross entropies. Both compute what PlainMoLoLoss.cs computes, on features like those of PowerLawFeatures.cs.

Needs Python 3.9 and torch, nothing else. Writes one JSON object; --out is rewritten after each case, so that a run that is cut off leaves what it has.
"""
import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

TAU = 0.9
SMOOTHING = 0.1
LOGIT_SCALE = 4.6052            # ln(100), where CLIP's is clamped
NOISE = 0.5                     # of the images, relative to the texts
SMALLEST_VARIANCE = 1e-8        # the authors' guard of the division by the total variance
PAST_CACHE = 256 << 20          # bytes of inputs and gradients, several times the largest second-level cache
MOST_SETS = 64
TOGETHER = 32                   # steps enqueued before the host waits


# --- The loss -------------------------------------------------------------------------------------------------------------------------

def cross_entropy(logits):
    """Mean over the rows of one N x N matrix, or of all matrices of a G x N x N stack."""
    n = logits.shape[-1]
    targets = torch.arange(n, device=logits.device).repeat(logits.numel() // (n * n))
    return F.cross_entropy(logits.reshape(-1, n), targets, label_smoothing=SMOOTHING)


def both_directions(a, b, scale, logits_type):
    """Mean of the row and the column cross entropies of scale * a b^T, from one product."""
    with torch.autocast(a.device.type, dtype=torch.bfloat16, enabled=logits_type is torch.bfloat16):
        logits = (scale * a) @ b.transpose(-1, -2)
        return 0.5 * (cross_entropy(logits) + cross_entropy(logits.transpose(-1, -2)))


def centre(x):
    mean = x.mean(-2, keepdim=True)
    return x - mean, mean


def reconstruct_svd(x):
    """HiDe in the authors' structure. Returns u' and m."""
    centred, mean = centre(x)
    _, singular, rows = torch.linalg.svd(centred, full_matrices=False)
    variance = singular.square()
    total = variance.sum()
    m = len(variance)
    if total >= SMALLEST_VARIANCE:                                                # host read
        reached = torch.where(variance.cumsum(0) / total >= TAU)[0]               # host read
        m = reached[0].item() + 1 if len(reached) > 0 else m                      # host read
    kept = rows[:m]
    return centred @ kept.T @ kept + mean, m


def loss_svd(images, texts, logit_scale, logits_type=torch.float32):
    """The authors' structure. Returns the loss and m."""
    v, x, scale = F.normalize(images, dim=-1), F.normalize(texts, dim=-1), logit_scale.exp()
    components, m = reconstruct_svd(x)
    with torch.autocast(v.device.type, dtype=torch.bfloat16, enabled=logits_type is torch.bfloat16):
        pairs = [(v, x), (x, v), (v, components), (components, v)]
        return 0.5 * sum(cross_entropy((scale * a) @ b.T) for a, b in pairs), m


def kept_eigenvectors(symmetric):
    """Eigenvectors of the m largest eigenvalues as columns, and m."""
    values, vectors = torch.linalg.eigh(symmetric)                                # ascending
    descending = values.detach().flip(0).clamp(min=0)
    reached = (descending.cumsum(0) / descending.sum().clamp(min=SMALLEST_VARIANCE) >= TAU).sum().item()
    n = len(values)
    m = n - reached + 1 if reached > 0 else n
    return vectors[:, n - m:], m


def loss_eigh(images, texts, logit_scale, logits_type=torch.float32):
    """The smaller side's eigenvectors. Returns the loss and m."""
    v, x, scale = F.normalize(images, dim=-1), F.normalize(texts, dim=-1), logit_scale.exp()
    centred, mean = centre(x)
    n, d = x.shape
    if n <= d:
        kept, m = kept_eigenvectors(centred @ centred.T)
        left, right = v, kept @ (kept.T @ centred) + mean
    else:                                                                         # rank m + 1: v . u'_j = (P v) . (P X_j) + v . mu
        kept, m = kept_eigenvectors(centred.T @ centred)
        left, right = v @ torch.cat([kept, mean.T], 1), torch.cat([centred @ kept, x.new_ones(n, 1)], 1)
    return both_directions(v, x, scale, logits_type) + both_directions(left, right, scale, logits_type), m


def reconstruct_eigh_batched(x):
    """HiDe of G groups with N <= d in one call each: G x N x d. Returns u' and the first group's m."""
    centred, mean = centre(x)
    values, vectors = torch.linalg.eigh(centred @ centred.transpose(1, 2))
    variance = values.detach().clamp(min=0)
    dropped = variance.cumsum(-1) <= (1 - TAU) * variance.sum(-1, keepdim=True)   # those whose removal leaves tau of the variance
    kept = vectors * (~dropped).unsqueeze(1)
    return kept @ (kept.transpose(1, 2) @ centred) + mean, (~dropped[0]).sum()


def loss_eigh_batched(images, texts, logit_scale, logits_type=torch.float32):
    """G groups with N <= d in one call each: G x N x d. Returns the mean loss and the first group's m."""
    v, x, scale = F.normalize(images, dim=-1), F.normalize(texts, dim=-1), logit_scale.exp()
    components, m = reconstruct_eigh_batched(x)
    return both_directions(v, x, scale, logits_type) + both_directions(v, components, scale, logits_type), m


def hide_alone(reconstruct):
    """Forward and backward of HiDe by itself: the loss is linear in u', so that the images are its gradient."""
    def loss(images, texts, logit_scale, logits_type=torch.float32):
        components, m = reconstruct(texts)
        return (components * images.detach()).sum(-1).mean(), m
    return loss


def loop_over_groups(loss):
    def looped(images, texts, logit_scale, logits_type=torch.float32):
        losses = [loss(image, text, logit_scale, logits_type) for image, text in zip(images, texts)]
        return sum(each for each, _ in losses) / len(losses), losses[0][1]
    return looped


def loss_contrast(images, texts, logit_scale, logits_type=torch.float32):
    """The first branch alone, without PCA."""
    return both_directions(F.normalize(images, dim=-1), F.normalize(texts, dim=-1), logit_scale.exp(), logits_type), 0


# --- Inputs and clocks ----------------------------------------------------------------------------------------------------------------

def features(device, shape, seed):
    """Texts with the power-law spectrum of PowerLawFeatures.cs, images around them; [groups,] rows, columns."""
    rows, columns = shape[-2:]
    generator = torch.Generator(device).manual_seed(seed)
    decay = torch.arange(1, columns + 1, device=device, dtype=torch.float32) ** (-0.42 if rows < 192 else -0.51)
    texts = torch.randn(shape, generator=generator, device=device) * decay
    images = texts + NOISE * decay * torch.randn(shape, generator=generator, device=device)
    return images.requires_grad_(), texts.requires_grad_()


class Clock:
    """Times calls on the device by events; on the CPU by the host's clock."""

    def __init__(self, device, seconds, limit):
        self.device, self.seconds, self.limit = device, seconds, limit

    def mark(self):
        if self.device.type == "cpu":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def milliseconds(self, first, second):
        return 1e3 * (second - first) if self.device.type == "cpu" else first.elapsed_time(second)

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def once(self, call):
        """One call by the host's clock, milliseconds."""
        self.wait()
        start = time.perf_counter()
        call()
        self.wait()
        return 1e3 * (time.perf_counter() - start)

    def run(self, call):
        """call(i) runs number i. Returns a dictionary: median, minimum and number of the runs, or why there are none."""
        first = self.once(lambda: call(0))
        if first > 1e3 * self.limit:
            return {"skipped": f"one run took {first / 1e3:.1f} s, over the limit of {self.limit} s", "ms": first, "runs": 1}
        second = self.once(lambda: call(1))
        times, number, end = [], 2, time.perf_counter() + self.seconds
        while not times or time.perf_counter() < end:
            rounds = max(1, min(TOGETHER, int(1e3 * self.seconds / second)))
            marks = [self.mark()]
            for _ in range(rounds):
                call(number)
                number += 1
                marks.append(self.mark())
            self.wait()
            times += [self.milliseconds(a, b) for a, b in zip(marks, marks[1:])]
        return {"first_ms": first, "ms": statistics.median(times), "min_ms": min(times), "runs": len(times)}


# --- Cases ----------------------------------------------------------------------------------------------------------------------------

def is_out_of_memory(error):
    return "out of memory" in str(error).lower()


def use_tf32(yes):
    torch.set_float32_matmul_precision("high" if yes else "highest")


def time_loss(clock, shape, loss, logits_type=torch.float32, tf32=False):
    """Forward and backward of one form on one shape, inputs rotated among sets that together are larger than the cache."""
    length = 1
    for each in shape:
        length *= each
    sets = max(1, min(MOST_SETS, PAST_CACHE // (16 * length)))
    inputs = [features(clock.device, shape, seed) for seed in range(sets)]
    logit_scale = torch.tensor(LOGIT_SCALE, device=clock.device, requires_grad=True)

    def step(number):
        images, texts = inputs[number % sets]
        value, m = loss(images, texts, logit_scale, logits_type)
        return value, m, torch.autograd.grad(value, (images, texts, logit_scale), allow_unused=True)

    use_tf32(tf32)
    try:
        if clock.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        value, m, gradients = step(0)
        facts = {"loss": value.item(), "m": int(m), "gradient_norms": [gradient.norm().item() for gradient in gradients if gradient is not None], "sets": sets}
        del value, gradients
        if clock.device.type == "cuda":
            facts["peak_bytes"] = torch.cuda.max_memory_allocated()
        return {**facts, **clock.run(step)}
    finally:
        use_tf32(False)


def loss_cases(quick):
    """Name, form, shape, and the keyword arguments of time_loss, smallest first."""
    bf16, tf32 = {"logits_type": torch.bfloat16}, {"tf32": True}
    small, groups = ((8, 16), 4) if quick else ((128, 768), 64)
    grouped = (groups, *small)
    cases = [("svd", loss_svd, small, {}), ("eigh", loss_eigh, small, {}), ("eigh, bf16 logits", loss_eigh, small, bf16)]
    cases += [
        ("svd, loop", loop_over_groups(loss_svd), grouped, {}),
        ("eigh, loop", loop_over_groups(loss_eigh), grouped, {}),
        ("eigh, batched", loss_eigh_batched, grouped, {}),
        ("hide, svd, loop", loop_over_groups(hide_alone(reconstruct_svd)), grouped, {}),
        ("hide, eigh, batched", hide_alone(reconstruct_eigh_batched), grouped, {}),
    ]
    for shape in [(48, 16)] if quick else [(1024, 768), (8192, 768), (65536, 768)]:
        cases += [
            ("svd", loss_svd, shape, {}), ("eigh", loss_eigh, shape, {}), ("eigh, tf32", loss_eigh, shape, tf32), ("eigh, bf16 logits", loss_eigh, shape, bf16),
            ("contrast", loss_contrast, shape, {}), ("contrast, tf32", loss_contrast, shape, tf32), ("contrast, bf16 logits", loss_contrast, shape, bf16),
        ]
    return cases


def decomposition_cases(quick):
    """Name, decomposition, shape of the texts that are decomposed (svd) or whose Gram matrix is (eigh)."""
    def eigh(texts):
        return torch.linalg.eigh(texts @ texts.transpose(-1, -2))

    def svd(texts):
        return torch.linalg.svd(texts, full_matrices=False)
    if quick:
        return [("eigh", eigh, (8, 16)), ("svd", svd, (8, 16))]
    return [("eigh", eigh, shape) for shape in [(128, 768), (64, 128, 768), (512, 1024), (768, 1024), (1024, 2048)]] + [
        ("svd", svd, (128, 768)), ("svd", svd, (1024, 768))]


def rates(clock, quick):
    """Copy bandwidth in bytes read and written, and products of normally distributed matrices."""
    device, n, length = clock.device, (64 if quick else 8192), (1 << 16 if quick else 1 << 28)
    source = torch.randn(length, device=device)
    target = torch.empty_like(source)
    copied = clock.run(lambda _: target.copy_(source))
    yield {"rate": "copy", **copied, "gigabytes_per_second": 8e-6 * length / copied["ms"]}
    del source, target
    for name, type_, tf32 in [("bf16", torch.bfloat16, False), ("tf32", torch.float32, True), ("float32", torch.float32, False)]:
        use_tf32(tf32)
        a, b = (torch.randn(n, n, device=device).to(type_) for _ in range(2))
        times = clock.run(lambda _: a @ b)
        yield {"rate": f"product, {name}", "n": n, **times, "teraflops": 2e-9 * n ** 3 / times["ms"]}
    use_tf32(False)


def inf_cl_cases(clock, folder, quick):
    """Inf-CL's Triton kernels (DAMO-NLP-SG/Inf-CLIP, a copy in `folder`), both directions, no label smoothing, one GPU."""
    spec = importlib.util.spec_from_file_location("inf_cl_flash", os.path.join(folder, "inf_cl", "flash.py"))
    flash = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(flash)
    for shape in [(256, 768)] if quick else [(8192, 768), (65536, 768)]:
        for name, type_ in [("float32", torch.float32), ("bf16", torch.bfloat16)]:
            def loss(images, texts, logit_scale, _, type_=type_):
                v, x, scale = F.normalize(images, dim=-1).to(type_), F.normalize(texts, dim=-1).to(type_), logit_scale.exp()
                directions = flash.cal_flash_loss(v, x, scale=scale), flash.cal_flash_loss(x, v, scale=scale)
                return 0.5 * (directions[0].mean() + directions[1].mean()), 0
            yield f"Inf-CL, {name} inputs", loss, shape


# --- Program --------------------------------------------------------------------------------------------------------------------------

def driver_version():
    try:
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout.split("\n")[0]
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown: {error}"


def versions(device):
    found = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda}
    if importlib.util.find_spec("triton"):
        import triton
        found["triton"] = triton.__version__
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {"gpu": properties.name, "sm": f"{properties.major}.{properties.minor}", "multiprocessors": properties.multi_processor_count,
                  "memory_bytes": properties.total_memory, "driver": driver_version()}
    return found


class Report:
    """Everything measured so far; written again after each row."""

    def __init__(self, facts, path):
        self.content, self.path = {**facts, "command": " ".join(sys.argv), "rows": []}, path

    def add(self, row):
        self.content["rows"].append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
        self.write()

    def write(self):
        if self.path:
            with open(self.path + ".new", "w", encoding="utf-8") as file:
                json.dump(self.content, file, indent=1)
            os.replace(self.path + ".new", self.path)


def attempt(report, row, measure):
    """Adds what `measure` returns; a case that does not fit the memory, or that fails, is a row that says so."""
    try:
        result = measure()
    except Exception as error:      # each case stands alone: what one cannot do must not hide the others
        result = {"out_of_memory" if is_out_of_memory(error) else "failed": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    report.add({**row, **result})
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--quick", action="store_true", help="tiny shapes: whether everything runs")
    parser.add_argument("--seconds", type=float, default=0.6, help="of measurement per case")
    parser.add_argument("--limit", type=float, default=3.0, help="seconds that one run may take; longer ones are not repeated")
    parser.add_argument("--total", type=float, default=150.0, help="seconds after which no further case starts")
    parser.add_argument("--only", default="", help="cases whose JSON row contains this text")
    parser.add_argument("--inf-cl", metavar="PATH", help="a copy of DAMO-NLP-SG/Inf-CLIP, to be timed as well")
    parser.add_argument("--out", metavar="FILE", help="where the JSON goes, beside standard output")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error(f"torch {torch.__version__} (CUDA {torch.version.cuda}) finds no GPU; use --device cpu --quick to try the script")
    start = time.perf_counter()
    device = torch.device(arguments.device)
    clock = Clock(device, 0.02 if arguments.quick else arguments.seconds, arguments.limit)
    report = Report(versions(device), arguments.out)
    last = {}                       # seconds and rows of the last run of each form

    def wanted(row):
        if arguments.only not in json.dumps(row):
            return False
        if time.perf_counter() - start > arguments.total:
            report.add({**row, "skipped": f"--total {arguments.total} seconds are over"})
            return False
        return True

    def measure_loss(form, loss, shape, options, limit):
        row = {"form": form, "shape": list(shape)}
        if not wanted(row):
            return
        milliseconds, rows = last.get(form, (0.0, 1)) if len(shape) == 2 else (0.0, 1)
        if 1e-3 * milliseconds * shape[-2] / rows > limit:
            report.add({**row, "skipped": f"{milliseconds:.0f} ms at {rows} rows: would be over the limit of {limit} s"})
            return
        result = attempt(report, row, lambda: time_loss(clock, shape, loss, **options))
        if len(shape) == 2 and "ms" in result:
            last[form] = result["ms"], shape[-2]

    if wanted({"rate": ""}):
        try:
            for row in rates(clock, arguments.quick):
                report.add(row)
        except RuntimeError as error:
            report.add({"rate": "", "failed": str(error).splitlines()[0]})
    for form, loss, shape, options in loss_cases(arguments.quick):
        measure_loss(form, loss, shape, options, arguments.limit)
    for name, decompose, shape in decomposition_cases(arguments.quick):
        row = {"decomposition": name, "shape": list(shape)}
        if wanted(row):
            texts = F.normalize(features(device, shape, 0)[1].detach(), dim=-1)
            attempt(report, row, lambda: clock.run(lambda _: decompose(texts)))
    if arguments.inf_cl:
        clock.limit = 20.0          # three runs of the largest case are worth a minute
        for form, loss, shape in inf_cl_cases(clock, arguments.inf_cl, arguments.quick):
            measure_loss(form, loss, shape, {}, clock.limit)
    report.content["seconds"] = time.perf_counter() - start
    report.write()
    print(json.dumps(report.content, indent=1))


if __name__ == "__main__":
    main()
